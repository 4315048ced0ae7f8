"""What a run's model card says of pruning: options, budget, tag and citation.

The card is whatever the trainer's program writes, TRL, transformers, LLaMA-Factory or Axolotl: a
section is added to it, which a later call replaces.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load, metadata_save

from ..arguments import METHODS, PruningArguments
from ..core.ratio import share
from ..io.hub import public_name
from ..pruners.pair import Pruners
from ..pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS
from ..step.work import StepCounts
from ..weighters.registry import TOKEN_WEIGHTERS
from .budget import budget_table

CARD = "README.md"
TAG = "q-tuning"
PLANE_FILE = "eu_plane.png"
CITATION = """@article{wang2025winning,
  title   = {{Winning the Pruning Gamble: A Unified Approach to Joint Sample and Token Pruning for Efficient Supervised Fine-Tuning}},
  author  = {Shaobo Wang and Jiaming Wang and Jiajun Zhang and Cong Wang and Yue Min and Zichen Wen and Xingzhang Ren and Fei Huang and Huiqiang Jiang and Junyang Lin and Dayiheng Liu and Linfeng Zhang},
  journal = {arXiv preprint arXiv:2509.23873},
  year    = {2025}
}"""  # noqa: E501 - one line an entry, as BibTeX is written
CITED = ("Cite Q-Tuning as:", "", "```bibtex", CITATION, "```")
"""The lines of a card that say whom to cite."""
_BEGIN, _END = "<!-- qtuning: begin -->", "<!-- qtuning: end -->"
_SECTION = re.compile(rf"\n*{re.escape(_BEGIN)}.*?{re.escape(_END)}\n*", re.DOTALL)
_FIRST = ("sample_pruner", "sample_ratio", "token_pruner", "token_ratio")
_REGISTRIES: tuple[Mapping[str, Any], ...] = (SAMPLE_PRUNERS, TOKEN_PRUNERS, TOKEN_WEIGHTERS)


def describe_run(
    path: Path, settings: Mapping[str, Any], counts: StepCounts, *, again: bool = False
) -> None:
    """Write what a run pruned into its model card, in place of what an earlier call wrote.

    Args:
        path: The card, a Markdown file with YAML metadata or without.
        settings: The fields of ``PruningArguments`` as plain data.
        counts: The counts of the run so far.
        again: Write only into a card that has the section already.
    """
    if not path.is_file() or (again and _BEGIN not in path.read_text(encoding="utf-8")):
        return
    text = _SECTION.sub("\n", path.read_text(encoding="utf-8")).rstrip("\n")
    picture = path.with_name(PLANE_FILE).is_file()
    section = "\n".join([_BEGIN, *section_lines(settings, counts, picture=picture), _END])
    path.write_text(f"{text}\n\n{section}\n", encoding="utf-8")
    tag(path)


def tag(path: Path) -> None:
    """Add the tag ``q-tuning`` to the metadata of a card."""
    metadata = metadata_load(path) or {}
    tags = metadata.get("tags") or []
    tags = [tags] if isinstance(tags, str) else list(tags)
    if TAG not in tags:
        metadata_save(path, {**metadata, "tags": [*tags, TAG]})


def section_lines(
    settings: Mapping[str, Any], counts: StepCounts, *, picture: bool = False
) -> list[str]:
    """The lines of the section: what was pruned, by which options, at what cost, and whom to cite.

    Args:
        settings: The fields of ``PruningArguments`` as plain data.
        counts: The counts of the run so far.
        picture: Whether the plane is beside the card as ``PLANE_FILE``.
    """
    lines = [
        "## Pruning",
        "",
        "Every optimizer step chose among its candidates the samples, and in them the answer "
        f"tokens, to train on: {program()}, an implementation of "
        "[Q-Tuning](https://arxiv.org/abs/2509.23873).",
    ]
    if counts.samples:
        lines[-1] += (
            f" In {counts.steps:,} steps it trained on {_of(counts.kept_samples, counts.samples)} "
            f"samples and {_of(counts.kept_answer_tokens, counts.answer_tokens)} answer tokens."
        )
    lines += ["", *option_table(settings)]
    if counts.samples:
        head = ("share of training on everything", "nominal", "actual")
        rows = budget_table(counts, nominal_ratio(settings), settings["token_ratio"])
        lines += ["", *_table(head, rows)]
    if picture:
        lines += ["", f"![The Error-Uncertainty plane at the end of the run]({PLANE_FILE})"]
    return [*lines, "", *CITED]


def program() -> str:
    """The name of this program with its version; without, where it is run but not installed."""
    try:
        return f"qtuning {version('qtuning')}"
    except PackageNotFoundError:
        return "qtuning"


def nominal_ratio(settings: Mapping[str, Any]) -> float:
    """Share of the samples that the options ask for, the mean over the run."""
    known = {one.name for one in fields(PruningArguments)} & settings.keys()
    methods = [settings.get(name, "none") for name in METHODS]
    if all(name in names for name, names in zip(methods, _REGISTRIES, strict=True)):
        args = PruningArguments(**{name: settings[name] for name in known})
        return sum(Pruners.of(args).budget(args)) / 2
    return float(settings["sample_ratio"])


def option_table(settings: Mapping[str, Any]) -> list[str]:
    """The lines of a table of the pruners and their ratios, and of options not at their default.

    Args:
        settings: The fields of ``PruningArguments`` as plain data.
    """
    others = [
        one.name
        for one in fields(PruningArguments)
        if one.name not in _FIRST and settings.get(one.name, one.default) != one.default
    ]
    values = [(name, settings[name]) for name in (*_FIRST, *others)]
    rows = [
        (f"`{name}`", f"`{public_name(value) if isinstance(value, str) else value}`")
        for name, value in values
    ]
    return _table(("option", "value"), rows)


def _of(part: int, total: int) -> str:
    return f"{part:,} of {total:,} ({share(part, total):.1%})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table of Markdown."""
    cells = [[one.replace("|", "\\|") for one in row] for row in (head, ["---"] * len(head), *rows)]
    return [f"| {' | '.join(row)} |" for row in cells]
