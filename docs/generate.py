"""The pages that are made of the code: ``python docs/generate.py`` writes them.

docs/pruners.md has the cards of the pruners, docs/token-weights.md a guide and the cards of the
token weighters, docs/configuration.md the help of every option, docs/trainer-options.md what
pruning makes of the options of TRL and transformers.
"""

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from re import sub
from typing import Any

import trainer_options

from qtuning import PruningArguments
from qtuning.commands.diff import DiffArguments
from qtuning.commands.evaluate import EvaluateArguments
from qtuning.commands.explain import ExplainArguments
from qtuning.commands.prune import PruneArguments
from qtuning.commands.report import ReportArguments
from qtuning.commands.score import ScoreArguments
from qtuning.pruners.cards import cards
from qtuning.weighters.cards import page as token_weights

FOLDER = Path(__file__).parent

_INTRO = """# Configuration

Every option is a flag (`--sample_ratio 0.25`), a key of the YAML file that `--config` names
(`sample_ratio: 0.25`), and, where it prunes, a field of `QTuningConfig` in Python. Flags win over
the file. A truth value is given as `--one_pass true`; defaults stand in brackets. `qtuning <verb>
--help` lists all options of a verb with those of TRL.

Made of the fields' help by `python docs/generate.py`.

## Pruning

Fields of `PruningArguments`: of `QTuningConfig` and of any training arguments that have it among
their bases, and options of `qtuning train`, `prune`, `report` and `diff`. Defaults are the paper's,
except `sample_ratio` (the middle of its range) and `pool_scope` (there the pool was one device's
micro-batch).
"""

_TRAIN = """## qtuning train

The options above, and those of `trl sft`: TRL's `ScriptArguments`, `SFTConfig`, `ModelConfig` and
`DatasetMixtureConfig`. Their defaults are TRL's, except `bf16`, which is on where the device
multiplies bfloat16 natively.
"""

_VERBS = {
    "score": (ScoreArguments, "Besides those of TRL's `ScriptArguments` and `ModelConfig`:"),
    "prune": (PruneArguments, "Besides those of pruning:"),
    "report": (ReportArguments, "Besides those of pruning:"),
    "explain": (ExplainArguments, "All of them:"),
    "diff": (DiffArguments, "Besides those of pruning:"),
    "evaluate": (
        EvaluateArguments,
        "Besides those of TRL's `ScriptArguments` and `ModelConfig`:",
    ),
}

_COMPARE = """## qtuning compare

Its options and the keys of its grid are on the page
[Compare and evaluate](compare-and-evaluate.md#the-grid).
"""


def configuration() -> str:
    """The page of all options, Markdown."""
    parts = [_INTRO, _list(fields(PruningArguments)), _TRAIN]
    for verb, (kind, beside) in _VERBS.items():
        parts.append(f"## qtuning {verb}\n\n{beside}\n")
        parts.append(_list(fields(kind)))
    return "\n".join([*parts, _COMPARE])


def _list(options: Sequence[Field[Any]]) -> str:
    items = [f"- **`{one.name}`**{_default(one)}: {_help(one)}" for one in options]
    return "\n".join([*items, ""])


def _default(option: Field[Any]) -> str:
    """In brackets, as YAML has it; nothing for None and for empty lists."""
    value = option.default
    if value is None or value is MISSING:
        return ""
    return f" (`{str(value).lower() if isinstance(value, bool) else value}`)"


def _help(option: Field[Any]) -> str:
    """The help with its choices; names of options as code."""
    text = str(option.metadata["help"]).replace("%%", "%")
    choices = option.metadata.get("choices", ())
    if not all(one in text for one in choices):
        text += f" One of {', '.join(choices)}."
    parts = text.replace("<", "&lt;").split("`")
    parts[::2] = [sub(r"\b[a-z]+(_[a-z]+)+\b", r"`\g<0>`", part) for part in parts[::2]]
    return sub(r"docs/([\w-]+)\.md", r"[the page on \1](\1.md)", "`".join(parts))


def main() -> None:
    """Write the pages."""
    for name, text in (
        ("pruners", cards()),
        ("token-weights", token_weights()),
        ("configuration", configuration()),
        ("trainer-options", trainer_options.page()),
    ):
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
