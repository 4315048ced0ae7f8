"""``qtuning explain OUT``: what a run's ledger tells about its steps and samples; suspects."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ..errors import UsageError
from ..explanation.explain import Explanation, explain
from ..explanation.tables import (
    show_conversation,
    show_sample,
    show_spikes,
    show_step,
    show_summary,
)
from ..io.row_text import clean
from ..offline.suspects import suspects
from ..offline.suspects_table import show_suspects
from .parser import OneLineParser


@dataclass
class ExplainArguments:
    """Arguments of ``qtuning explain``: which run, and what to tell of it."""

    out: Path | None = field(
        default=None, metadata={"help": "The output folder of a run; may stand first."}
    )
    step: int | None = field(
        default=None,
        metadata={
            "help": "Show the candidates of this step: perplexity, entropy, the decision and its "
            "reason, and the loss before and after."
        },
    )
    spikes: bool = field(
        default=False, metadata={"help": "Find the steps whose loss jumps, and name their rows."}
    )
    sample: str | None = field(
        default=None, metadata={"help": "Show the visits of the sample of this name."}
    )
    summary: bool = field(
        default=False,
        metadata={
            "help": "Count the samples never kept, always kept and flipping, by the quadrants that "
            "they went through; so does the command without any of these."
        },
    )
    suspects: int | None = field(
        default=None,
        metadata={
            "help": "List this many rows whose answer most likely does not belong to its prompt, "
            "least gain first; of scores that were made with --alone, or of a run, whose data's "
            "scores --rows names."
        },
    )
    output: Path | None = field(
        default=None, metadata={"help": "A JSON Lines file to write the suspects to, as rows."}
    )
    rows: Path | None = field(
        default=None,
        metadata={"help": "The data of the run, or their scores, for the texts of the samples."},
    )
    show: int = field(
        default=20, metadata={"help": "How many rows of a table to show; JSON has all."}
    )
    json: bool = field(default=False, metadata={"help": "Print JSON in place of tables."})


def run(argv: Sequence[str]) -> None:
    """Print what a run's record tells about its steps and samples, and suspects.

    Raises:
        UsageError: An argument is unusable, there is no ledger, it has no such step or sample, or
            the scores have no gain.
    """
    words = list(argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--out")
    (options,) = OneLineParser((ExplainArguments,), prog="qtuning explain").parse_in_one_line(words)
    if options.out is None:
        raise UsageError("nothing to explain: name a run's output folder, as `qtuning explain out`")
    if options.show < 0:
        raise UsageError(f"--show must be at least 0, got {options.show}")
    if options.output is not None and options.suspects is None:
        raise UsageError("--output is where suspects are written: give --suspects a number too")
    found = None
    if options.suspects is not None:
        found = suspects(options.out, options.suspects, rows=options.rows)
        if options.output is not None:
            found.write(options.output)
    asked = options.step is not None or options.spikes or options.sample or options.summary
    told = explain(options.out, rows=options.rows) if asked or found is None else None
    answers: dict[str, Any] = {} if told is None else _answers(told, options)
    if found is not None:
        answers["suspects"] = found
    if options.json:
        scorer = None if told is None else told.scorer
        content = {"format": 1, "run": str(options.out), "scorer": scorer}
        content |= {name: answer.to_dict() for name, answer in answers.items()}
        # In ASCII: a terminal would act on some characters of names and texts.
        print(json.dumps(content, indent=1, allow_nan=False))
        return
    console = Console(highlight=False)
    if told is not None and told.scorer is not None:
        of = f"those of the scorer {clean(told.scorer, 200)}, not of the model that was trained"
        console.print(Text(f"Perplexities and losses by the ledger are {of}."), soft_wrap=True)
    for place, (name, answer) in enumerate(answers.items()):
        if place:
            console.print()
        match name:
            case "step":
                show_step(console, answer, options.show)
            case "spikes":
                show_spikes(console, answer, options.show)
            case "sample":
                show_sample(console, answer, options.show)
            case "conversation":
                show_conversation(console, answer)
            case "suspects":
                show_suspects(console, answer, options.show)
            case "summary":
                assert told is not None
                examples = [path.example for path in answer.paths[: options.show]]
                texts = [] if told.texts is None else told.texts_of(examples)
                show_summary(console, answer, texts, options.show)


def _answers(told: Explanation, options: ExplainArguments) -> dict[str, Any]:
    """What was asked for, by name; the summary if nothing was."""
    answers: dict[str, Any] = {}
    if options.step is not None:
        answers["step"] = told.step(options.step)
    if options.spikes:
        answers["spikes"] = told.spikes()
    if options.sample is not None:
        turns = told.conversation(options.sample)
        if turns is None:
            answers["sample"] = told.sample(options.sample)
        else:
            answers["conversation"] = turns
    if options.summary or not answers:
        answers["summary"] = told.summary()
    return answers
