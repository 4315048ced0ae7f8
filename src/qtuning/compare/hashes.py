"""Hashes of the files that a cell reads, in place of their names."""

import functools
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..io.adapters import adapter_in
from ..run.ledger import FOLDER

_MODEL_FILES = ("*.safetensors", "*.gguf", "*.json")
_SLOW_TOKENIZER_FILES = ("*.model", "*.txt")
_TEMPLATES = ("*.jinja",)
_SCORE_FILES = ("*.parquet", f"{FOLDER}/*.parquet")


def hash_of_model(name: str, *, with_template: bool = False) -> str:
    """Return a hash of a model folder's files; for a model on the Hub, its name.

    That of an adapter is followed by its base's.

    Args:
        name: Folder, GGUF file, chat template, or name on the Hub.
        with_template: Whether the model's chat template is used.
    """
    patterns = [*_MODEL_FILES]
    if not Path(name, "tokenizer.json").is_file():
        patterns += _SLOW_TOKENIZER_FILES
    if with_template:
        patterns += _TEMPLATES
    own = _hash_of_folder(name, patterns)
    adapter = adapter_in(Path(name), name)
    if adapter is None:
        return own
    return f"{own} on {hash_of_model(adapter.base, with_template=with_template)}"


def hash_of_scores(name: str) -> str:
    """Return a hash of a file of scores, or of the ledger in a run's output folder."""
    return _hash_of_folder(name, _SCORE_FILES)


def hash_of_code(spec: str) -> str:
    """Return ``package.module:name`` with a hash of the module's file, which is not run for it.

    Of a package all files are hashed. What else the module imports is not, and where the file is
    not found, as in an archive, the name alone is returned.
    """
    parts = spec.partition(":")[0].split(".")
    for folder in ("", *sys.path):  # a cell's interpreter looks in the working directory first
        package = Path(folder, *parts)
        if (package / "__init__.py").is_file():
            return f"{spec} {_hash_of_files(package.rglob('*.py'))}"
        module = Path(folder, *parts[:-1], f"{parts[-1]}.py")
        if module.is_file():
            return f"{spec} {hash_of_file(str(module))}"
    return spec


@functools.cache
def hash_of_file(name: str) -> str:
    """Return a hash of a file's content; its name if there is no such file."""
    path = Path(name)
    if not path.is_file():
        return name
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _hash_of_folder(name: str, patterns: Sequence[str]) -> str:
    folder = Path(name)
    if not folder.is_dir():
        return hash_of_file(name)
    return _hash_of_files(path for pattern in patterns for path in folder.glob(pattern))


def _hash_of_files(files: Iterable[Path]) -> str:
    hashes = [f"{path.name} {hash_of_file(str(path))}" for path in sorted(files)]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]
