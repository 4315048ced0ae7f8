"""Nothing that is read may run: the source is looked at for what would let it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "qtuning"
FILES = sorted(SOURCE.rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "runpy"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_YAML = {"unsafe_load", "full_load", "Loader", "UnsafeLoader", "FullLoader"}
# The user's own pruner by its name, the verbs, and modules of our own; packages of extras.
IMPORTS = {"__init__.py", "commands/main.py", "io/extras.py"}
IMPORTS |= {"pruners/lookup.py", "pruners/cards.py"}


def complaints(tree: ast.AST, name: str) -> Iterator[str]:
    """What is unsafe in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.split(".")[0] in UNSAFE_MODULES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            # The error by which torch refuses to unpickle is no way to unpickle.
            yield from (str(node.module) for one in node.names if one.name != "UnpicklingError")
        if isinstance(node, ast.Attribute) and node.attr in UNSAFE_YAML:
            yield node.attr
        if isinstance(node, ast.Attribute) and node.attr in ("system", "popen"):
            yield f"os.{node.attr}"
        if isinstance(node, ast.Call):
            yield from _of_call(node, name)


def _of_call(node: ast.Call, name: str) -> Iterator[str]:
    called = ast.unparse(node.func)
    given = {one.arg: ast.unparse(one.value) for one in node.keywords}
    if called in UNSAFE_CALLS:
        yield called
    if called.endswith("import_module") and name not in IMPORTS:
        yield called
    if called == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if called == "yaml.load" and "_Loader" not in map(ast.unparse, node.args):
        yield "yaml.load"
    if given.get("trust_remote_code") == "True":
        yield "trust_remote_code=True"
    if given.get("use_safetensors", "True") != "True":
        yield "use_safetensors"
    if given.get("shell") == "True":
        yield "shell=True"


def defaults(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names of arguments and of fields with their defaults."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            plain = node.args[len(node.args) - len(node.defaults) :]
            pairs = [*zip(plain, node.defaults, strict=True)]
            pairs += [*zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            yield from ((one.arg, ast.unparse(value)) for one, value in pairs if value is not None)
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), ast.unparse(node.value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_nothing_that_is_read_is_run(file) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not list(complaints(tree, file.relative_to(SOURCE).as_posix()))
    for name, value in defaults(tree):
        assert name != "trust_remote_code" or value == "False"


@pytest.mark.parametrize(
    "text",
    [
        *("import pickle", "from pickle import loads", "import dill.source", "eval('1')"),
        *("yaml.unsafe_load(x)", "yaml.load(x, yaml.FullLoader)", "yaml.load(x)", "os.system('x')"),
        *("torch.load(x)", "torch.load(x, weights_only=False)", "f(trust_remote_code=True)"),
        *(
            "f(use_safetensors=False)",
            "subprocess.run(x, shell=True)",
            "importlib.import_module(x)",
        ),
    ],
)
def test_it_would_be_seen(text) -> None:
    assert list(complaints(ast.parse(text), "data.py"))


def test_the_yaml_loader_is_a_safe_one() -> None:
    import yaml

    from qtuning.io.yaml_files import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)
