"""The README and the pages of the site, and what is in them."""

import io
import re
import shlex
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from qtuning.commands import main as cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))]
)
VERBS = (
    *("train", "inspect", "score", "prune", "report", "explain", "diff", "evaluate", "compare"),
    *("llamafactory", "swift"),
)
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str


def text(page: str) -> str:
    """A page as it is written."""
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", text(page))


def blocks(page: str, *languages: str) -> list[Block]:
    """The fenced blocks of a page; of these languages, if any are named."""
    found = [Block(*match) for match in _BLOCK.findall(text(page))]
    return [block for block in found if not languages or block.language in languages]


def commands(page: str) -> list[list[str]]:
    """The lines of a page's shell blocks as words, parted at ``&&``."""
    lines = []
    for block in blocks(page, "bash", "sh"):
        for line in block.code.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                words = shlex.split(part.replace("<this repository>", "URL"), comments=True)
                if words:
                    lines.append(words)
    return lines


@cache
def flags(verb: str) -> frozenset[str]:
    """The flags that a verb takes, from its help."""
    shown = io.StringIO()
    with redirect_stdout(shown), pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    return frozenset(re.findall(r"--\w[\w-]*", shown.getvalue())) | {"--config"}
