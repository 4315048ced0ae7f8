"""The origin of scores, recorded so that scores of different origins are never mixed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ..errors import UsageError
from ..examples.tokenising import Tokenising
from ..io.adapters import CONFIG, adapter_in
from ..signals.noisy_copies import Noise
from ..signals.score_columns import ALONE, SELECTIVE, WITHOUT_IMAGES
from .schema import TURN_ENDS, TURN_SCORES

METADATA = b"qtuning"
DATA_NAME = "data_name"
"""Entry with the name of the data, for people; earlier versions wrote none."""
_NOISE = "noisy_copies"
_PACKAGES = ("qtuning", "torch", "transformers", "trl", "datasets")
# A difference in these changes scores. Versions change only last digits, and are on record.
_DECISIVE = (
    *("model", "revision", "tokenizer", "chat_template", "data", "max_length", "dtype"),
    *("text_field", "assistant_only_loss", "truncation_mode", "completion_only_loss", "eos_token"),
)

_ENTROPY_OVER = "entropy_over"

Origin = dict[str, Any]

_READ: dict[str, type | tuple[type, ...]] = {
    "model_name": str,
    "revision": (str, type(None)),
    "tokenizer": str,
    "chat_template": str,
    "max_length": (int, type(None)),
    "dtype": str,
    "text_field": str,
    "assistant_only_loss": bool,
}


def origin_of(
    model: str,
    revision: str | None,
    tokenizer: PreTrainedTokenizerBase,
    data: str,
    tokenising: Tokenising,
    *,
    dtype: str,
    per_token: bool,
    float16: bool,
    alone: bool,
    entropy_over: str,
    noise: Noise | None = None,
    by_turn: bool = False,
    without_images: bool = False,
) -> Origin:
    """All that determines the scores, as plain data.

    Args:
        model: Folder, file or Hub id of the model.
        revision: Branch, tag or commit on the Hub.
        tokenizer: The tokenizer of the model.
        data: Fingerprint of the data.
        tokenising: The options that decide on the tokens of a row.
        dtype: Precision of the forward pass.
        per_token: Whether token statistics are written.
        float16: Whether token statistics are float16.
        alone: Whether answers are scored without their prompts as well.
        entropy_over: "all" where the entropy over all positions is written as well.
        noise: Noisy copies that are scored as well; None for none.
        by_turn: Whether the scores of turns are written.
        without_images: Whether answers are scored without the images of their rows as well.
    """
    return {
        "model": _model(model),
        "model_name": model,
        "revision": revision,
        **tokenizer_hashes(tokenizer, tokenising),
        "data": data,
        **asdict(tokenising),
        "dtype": dtype,
        "per_token": per_token,
        "float16": float16,
        TURN_ENDS: True,  # earlier versions did not write this column
        ALONE: alone,
        _ENTROPY_OVER: entropy_over,
        SELECTIVE: alone,  # nor did they write this one
        _NOISE: None if noise is None else asdict(noise),
        **({TURN_SCORES: True} if by_turn else {}),
        **({WITHOUT_IMAGES: True} if without_images else {}),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def tokenising_of(origin: Origin) -> Tokenising:
    """The options that decided on the tokens of the scored rows."""
    names = [one.name for one in fields(Tokenising)]
    return Tokenising(**{name: origin[name] for name in names if name in origin})


def tokenizer_hashes(tokenizer: PreTrainedTokenizerBase, how: Tokenising) -> dict[str, str]:
    """Hashes of the vocabulary and of the chat template in force.

    Args:
        tokenizer: The tokenizer of the model.
        how: The options that decide on the tokens of a row.

    Raises:
        UsageError: The chat template cannot be read.
    """
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    template = how.template(tokenizer)
    return {"tokenizer": _hash(vocabulary), "chat_template": _hash(str(template))}


def _model(name: str) -> str:
    """A hash of the weights if they are on this machine, else the Hub id.

    That of an adapter is over its weights, what scales them, and its base.
    """
    path = Path(name).expanduser()
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if not files:
        return name
    digest = hashlib.sha256()
    adapter = adapter_in(path, name)
    if adapter is not None:
        digest.update(_model(adapter.base).encode())
        files.append(path / CONFIG)
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:16]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_origin(schema: pa.Schema, origin: Origin) -> pa.Schema:
    """The schema with the origin added to its metadata."""
    text = json.dumps(origin, sort_keys=True).encode()
    return schema.with_metadata({**(schema.metadata or {}), METADATA: text})


def read_origin(schema: pa.Schema, where: Path) -> Origin:
    """The origin in a file's metadata.

    Args:
        schema: The schema of the file.
        where: The path of the file, for messages.

    Raises:
        UsageError: The metadata have no origin, or a damaged one.
    """
    text = (schema.metadata or {}).get(METADATA)
    if text is None:
        raise UsageError(
            f"{where}: not a file of `qtuning score`: it does not say where it is from"
        )
    try:
        origin = json.loads(text)
        return _checked(origin)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{where}: its record of origin is damaged ({error}); score again"
        ) from error


def _checked(origin: Any) -> Origin:
    """Check that an origin has the entries that are read later, in their types.

    Raises:
        KeyError: An entry is missing.
        TypeError: The origin is no mapping, or an entry is of another type.
    """
    if not isinstance(origin, dict):
        raise TypeError("not an object")
    for name, kind in _READ.items():
        if not isinstance(origin[name], kind):
            raise TypeError(f"{name} is {origin[name]!r}")
    return origin


def description(origin: Origin) -> str:
    """The origin as the description of a ``datasets.Dataset``, which has no other metadata."""
    return json.dumps({METADATA.decode(): origin}, sort_keys=True)


def described(text: str | None) -> Origin | None:
    """The origin in a description that ``description`` made; None for any other description."""
    try:
        content = json.loads(text or "")
    except ValueError:
        return None
    origin = content.get(METADATA.decode()) if isinstance(content, dict) else None
    return origin if isinstance(origin, dict) else None


def origin_if_any(schema: pa.Schema, where: Path) -> Origin | None:
    """The origin in a table's metadata; None if there is none.

    Raises:
        UsageError: The origin is damaged.
    """
    return read_origin(schema, where) if METADATA in (schema.metadata or {}) else None


def check_same_origin(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """Refuse to continue a file with scores of another origin.

    Args:
        found: The origin of the scores in the file.
        wanted: The origin of the scores to write.
        where: The path of the file, for messages.

    Raises:
        UsageError: The origins differ in an entry that changes scores or columns.
    """
    keys = (*_DECISIVE, "per_token", "float16", TURN_ENDS, ALONE, SELECTIVE, _NOISE, _ENTROPY_OVER)
    # Earlier versions had fewer options, and did what is the default now.
    defaults = {
        **asdict(Tokenising()),
        ALONE: False,
        SELECTIVE: False,
        _NOISE: None,
        _ENTROPY_OVER: "answer",
    }
    found, wanted = ({**defaults, **origin} for origin in (found, wanted))
    differences = [key for key in keys if found.get(key) != wanted.get(key)]
    if differences:
        raise UsageError(
            f"{where}: holds scores of another origin ({', '.join(differences)} differ): choose "
            "another --output, or remove it"
        )
