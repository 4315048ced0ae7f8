"""The plan of the code: who may import whom, and what a visitor sees first."""

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "qtuning"
# From the ground up: a room imports from those below it. What stands in one line is on one floor,
# and does not know each other.
FLOORS = (
    ("errors", "core"),
    ("precision", "arguments", "ranks", "io"),
    ("pruners",),
    ("weighters",),
    ("examples",),
    ("signals",),
    ("step",),
    ("run",),
    ("training", "offline", "evaluation"),
    ("explanation", "inspection"),
    ("reports", "compare"),
    ("integrations",),
    ("commands",),
    ("__init__", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MOST_FILES = 8
MOST_LINES = 400


def modules() -> dict[str, Path]:
    """Every module by its dotted name, from the package on."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that one imports, wherever in its text, for whatever reason."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            found.add(".".join(base))
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return {one for found_name in found for one in (found_name, f"{found_name}.__init__")} & set(
        known
    )


MODULES = modules()
GRAPH = {name: imports(name, path, MODULES) for name, path in MODULES.items()}


def room(name: str) -> str:
    """The folder, or file at the top, that a module is in."""
    return name.split(".")[1]


def rings(graph: dict[str, set[str]]) -> list[set[str]]:
    """What imports itself by way of others: strongly connected parts of more than one."""
    reach = {name: set(direct) for name, direct in graph.items()}
    for through in graph:
        for name in graph:
            if through in reach[name]:
                reach[name] |= reach[through]
    own = {name: frozenset(o for o in reach[name] if name in reach[o]) for name in graph}
    return [set(members) for members in set(own.values()) if len(members) > 1]


def test_rings_are_found() -> None:
    assert rings({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert rings({"a": {"b"}, "b": set()}) == []


def test_imports_are_read_in_all_their_forms(tmp_path) -> None:
    code = (
        "from . import b\nfrom ..io.data import load\nimport qtuning.core.plane\n"
        "if TYPE_CHECKING:\n    from .. import errors\ndef f():\n    from .c import d\n"
    )
    (tmp_path / "a.py").write_text(code)
    known = dict.fromkeys(
        (f"qtuning.{n}" for n in ("step.b", "io.data", "core.plane", "errors", "step.c", "step.d")),
        tmp_path,
    )
    found = imports("qtuning.step.a", tmp_path / "a.py", known)
    assert found == set(known) - {"qtuning.step.d"}


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert rings(GRAPH) == []


def test_no_rooms_import_each_other_in_a_ring() -> None:
    rooms: dict[str, set[str]] = {room(name): set() for name in GRAPH}
    for name, found in GRAPH.items():
        rooms[room(name)] |= {room(other) for other in found} - {room(name)}
    assert rings(rooms) == []


@pytest.mark.parametrize("name", GRAPH)
def test_imports_point_down(name) -> None:
    own = room(name)
    up = [
        other
        for other in GRAPH[name]
        if room(other) != own and FLOOR[room(other)] >= FLOOR[own] and room(other) != "errors"
    ]
    assert up == []


def test_every_room_has_its_floor_and_says_what_it_is() -> None:
    assert {room(name) for name in GRAPH} <= set(FLOOR)
    for name, path in MODULES.items():
        if name.endswith(".__init__") and name != "qtuning.evaluation.tasks.__init__":
            assert ast.get_docstring(ast.parse(path.read_text())), name


def test_a_visitor_sees_few_files_first() -> None:
    files = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len(files) <= MOST_FILES, files


@pytest.mark.parametrize("name", MODULES)
def test_no_file_is_long(name) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_core_needs_torch_alone() -> None:
    for name, path in MODULES.items():
        if room(name) != "core":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            tops = []
            if isinstance(node, ast.Import):
                tops = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                tops = [str(node.module).split(".")[0]]
            # The kernel is imported only on CUDA, where torch brings Triton along.
            more = {"triton"} if name == "qtuning.core.cuda_kernel" else set()
            assert set(tops) <= {"torch", *more, *sys.stdlib_module_names}, name


def test_the_tests_mirror_the_rooms() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    tested = {path.name for path in (PACKAGE.parents[1] / "tests").iterdir() if path.is_dir()}
    assert rooms <= tested


def test_no_step_looks_into_an_example() -> None:
    """What a step knows of an example it asks the room of examples, whatever kind of data it is."""
    looks = re.compile(r"""example\w*(\[\d\])*\[["']|example\w*\.(get|pop|items|keys)\(""")
    for path in (PACKAGE / "step").glob("*.py"):
        assert not looks.search(path.read_text(encoding="utf-8")), path
