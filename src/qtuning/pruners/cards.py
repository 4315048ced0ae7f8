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
        parts.append("| name | what it keeps | reads |\n|---|---|---|")
        parts.extend(_row(name, pruner) for name, pruner in registry.items())
        parts.append("")
    parts.append("## Method cards\n")
    for module in dict.fromkeys(_modules(SAMPLE_PRUNERS) + _modules(TOKEN_PRUNERS)):
        parts.append(_card(importlib.import_module(module).__doc__ or ""))
    return "\n".join(parts)


def _modules(registry: Mapping[str, object]) -> list[str]:
    return [type(pruner).__module__ for pruner in registry.values()]


def _row(name: str, pruner: object) -> str:
    """A row of a table: the pruner's name, its class' first docstring line, and its needs."""
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
