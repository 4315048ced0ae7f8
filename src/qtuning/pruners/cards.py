"""The method cards of all registered pruners as one page: ``python -m qtuning.pruners.cards``."""

import importlib
import re
from collections.abc import Mapping

from .registry import SAMPLE_PRUNERS, TOKEN_PRUNERS

FIELDS = ("What", "Cost", "When", "Source", "Differs")

_INTRO = """# Pruners

A sample pruner picks k of the N candidates of a pool, k = max(1, floor(sample_ratio * N)); a token
pruner then picks tokens of each kept sample. Any two go together: `sample_pruner` and
`token_pruner`, by name or as `package.module:name` of your own. Only answer tokens count,
everywhere.

What a pruner does not ask for is not computed: a pair that reads no scores costs no scoring pass,
and behind a sample pruner without scores only what is kept is scored, for its tokens.

Generated from the docstrings by `python -m qtuning.pruners.cards > docs/pruners.md`.
"""


def cards() -> str:
    """The page of all method cards, in Markdown."""
    parts = [_INTRO]
    for title, registry in (("Sample pruners", SAMPLE_PRUNERS), ("Token pruners", TOKEN_PRUNERS)):
        parts.append(f"## {title}\n")
        parts += table(registry, "what it keeps")
    parts += ["## Method cards\n", *sections(SAMPLE_PRUNERS, TOKEN_PRUNERS)]
    return "\n".join(parts)


def table(registry: Mapping[str, object], what: str) -> list[str]:
    """The lines of a table of methods: name, first line of the class, and what it reads.

    Args:
        registry: The methods by name.
        what: Head of the middle column.
    """
    head = f"| name | {what} | reads |\n|---|---|---|"
    return [head, *(_row(name, method) for name, method in registry.items()), ""]


def sections(*registries: Mapping[str, object]) -> list[str]:
    """The card of each module of the methods, once, as a section."""
    methods = [method for registry in registries for method in registry.values()]
    modules = dict.fromkeys(type(method).__module__ for method in methods)
    return [_card(importlib.import_module(module).__doc__ or "") for module in modules]


def _row(name: str, pruner: object) -> str:
    """A row of a table: the method's name, its class' first docstring line, and its needs."""
    summary = _code((type(pruner).__doc__ or "").splitlines()[0]).replace("|", "\\|").rstrip(".")
    needs = ", ".join(sorted(vars(type(pruner))["needs"])).replace("_", " ") or "nothing"
    return f"| `{name}` | {summary} | {needs} |"


def _card(text: str) -> str:
    """A card as a section: its first line as the heading, each field as a paragraph."""
    title, _, rest = text.partition("\n")
    title, body = _code(title).rstrip("."), _code(" ".join(rest.split()))
    for field in FIELDS:
        body = re.sub(rf"(^|\s){field}: ", f"\n- **{field}**: ", body)
    return f"### {title}\n{body}\n"


def _code(text: str) -> str:
    return re.sub(r"``([^`]*)``", r"`\1`", text)


if __name__ == "__main__":
    print(cards(), end="")
