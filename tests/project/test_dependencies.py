"""What the package imports comes with what it declares."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/qtuning"
ELSEWHERE = {"integrations"}
"""Folders that programs load whose own packages they import."""
WITH_CUDA = {"triton"}
"""What comes with torch where CUDA does, and is imported there alone."""


def imported(file: Path) -> Iterator[str]:
    """Packages that a module imports when it is imported itself."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def name_of(requirement: str) -> str:
    (name,) = re.findall(r"^[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_by(names: list[str]) -> set[str]:
    """Distributions that come with others, without their extras."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system or version of Python
            continue
        names += [name_of(one) for one in needed if "extra ==" not in one]
    return found


def test_what_modules_import_comes_with_the_declared_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    there = installed_by([name_of(one) for one in project["dependencies"]])
    distributions = metadata.packages_distributions()
    used: dict[str, str] = {}
    for file in SOURCE.rglob("*.py"):
        if ELSEWHERE.isdisjoint(file.relative_to(SOURCE).parts):
            used |= dict.fromkeys(imported(file), str(file.relative_to(ROOT)))
    foreign = used.keys() - sys.stdlib_module_names - {"qtuning"} - WITH_CUDA
    assert {"torch", "transformers", "trl"} <= foreign
    missing = {
        name: used[name]
        for name in foreign
        if not any(name_of(one) in there for one in distributions.get(name, []))
    }
    assert not missing
