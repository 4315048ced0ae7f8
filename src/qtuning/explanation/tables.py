"""Tables on the screen of what a run's record tells about its steps and samples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.ratio import share
from ..io.row_text import Text as RowText
from ..io.row_text import clean
from .conversation import Conversation
from .history import PLACE_LABELS
from .kinds import words_of_kind
from .losses import LOG
from .robust import LEAST, WINDOW
from .sample import Sample
from .spikes import Spikes
from .step import Step
from .summary import FATES, Summary
from .visit import Visit

_ROWS_OF_SPIKE = 3
_NAMED = 8
_LONGEST_TEXT = 600
FATE_WORDS = {"never": "never kept", "always": "always kept", "flipping": "flipping"}


def show_step(console: Console, step: Step, limit: int) -> None:
    """Print a step and at most ``limit`` of its candidates."""
    n, n_kept = len(step.visits), sum(visit.decision != "dropped" for visit in step.visits)
    n_filled = sum(visit.decision == "filled" for visit in step.visits)
    _say(
        console,
        f"Step {step.step}, epoch {step.epoch}: {n:,} candidates, {n_kept:,} kept, {n_filled:,} of "
        "them to fill the budget.",
    )
    _say(
        console,
        f"Loss before the step: {_number(step.loss_candidates)} of all candidates, "
        f"{_number(step.loss_kept)} of what is kept ({_number(step.loss_kept_before)} in the step "
        f"before, {_number(step.loss_kept_after)} in the one after).",
    )
    if step.logged is not None:
        of = step.logged
        span = "" if of.first_step == of.step else f", a mean of steps {of.first_step} to {of.step}"
        _say(console, f"Loss as it was logged: {_number(of.loss)}{span}.")
    _show_visits(console, "Candidates, highest perplexity first", step.visits, limit, _by_sample)


def show_sample(console: Console, sample: Sample, limit: int) -> None:
    """Print a sample and at most ``limit`` of its visits."""
    n, n_kept = len(sample.visits), sum(visit.decision != "dropped" for visit in sample.visits)
    _say(
        console,
        f"{clean(sample.sample_id, 200)}: {FATE_WORDS[sample.fate]}, {n_kept:,} of {n:,} visits; "
        f"{sample.path}.",
    )
    if sample.text is not None:
        _say(console, f"Prompt: {clean(sample.text.prompt, _LONGEST_TEXT)}")
        _say(console, f"Answer: {clean(sample.text.answer, _LONGEST_TEXT)}")
    visits = [replace(visit, text=None) for visit in sample.visits]
    _show_visits(console, "Visits", visits, limit, _by_step)


def show_conversation(console: Console, conversation: Conversation) -> None:
    """Print the turns of a conversation: their kinds, what was decided on them, and their texts."""
    turns = conversation.turns
    _say(console, f"{clean(conversation.sample_id, 200)}: {len(turns):,} turns.")
    if turns[0].text is not None:
        _say(console, f"Prompt: {clean(turns[0].text.prompt, _LONGEST_TEXT)}")
    for turn in turns:
        n = len(turn.visits)
        n_kept = sum(visit.decision != "dropped" for visit in turn.visits)
        _say(
            console,
            f"{clean(turn.sample_id, 200)} ({turn.visits[-1].kind}): {FATE_WORDS[turn.fate]}, "
            f"{n_kept:,} of {n:,} visits; {turn.path}; {turn.visits[-1].reason} at the last one.",
        )
        if turn.text is not None:
            _say(console, f"  {clean(turn.text.answer, _LONGEST_TEXT)}")


def show_spikes(console: Console, found: Spikes, limit: int) -> None:
    """Print at most ``limit`` spikes, and the rows that lift the loss most."""
    source = (
        "the loss as it was logged"
        if found.losses.source == LOG
        else "the mean NLL of the answers kept, as they were scored before each step"
    )
    n, n_losses = len(found.spikes), len(found.losses.step)
    _say(
        console,
        f"Spikes of {source}: {n:,} of {n_losses:,} losses lie {found.threshold:g} or more robust "
        f"standard deviations above the median of the {WINDOW} before.",
    )
    if n_losses <= LEAST:
        _say(console, f"The first {LEAST} losses have none to be compared with.")
    if not n or not limit:
        return
    table = Table(
        title=f"Highest z-score first, losses in nats a token: {_extent(limit, n)}",
        title_justify="left",
    )
    for name in ("step", "loss", "usual", "z", "sample", "ppl", "lifts by"):
        table.add_column(name, justify="left" if name == "sample" else "right", no_wrap=True)
    with_text = any(row.text for spike in found.spikes for row in spike.rows)
    if with_text:
        table.add_column("prompt", no_wrap=True, ratio=1)
        table.expand = True
    for spike in found.spikes[:limit]:
        numbers = _number(spike.loss), _number(spike.usual), f"{spike.score:.1f}"
        head = [spike.steps, *numbers]
        shown = spike.lifting(_ROWS_OF_SPIKE)
        for row, lift in shown:
            words = [Text(_prompt(row.text))] if with_text else []
            sample = Text(clean(row.sample_id, 40))
            table.add_row(*head, sample, _number(row.ppl), _number(lift), *words)
            head = [""] * len(head)
        if len(spike.rows) > len(shown):
            table.add_row(*head, f"+ {len(spike.rows) - len(shown):,} more")
        table.add_section()
    console.print(table)


def show_summary(
    console: Console, summary: Summary, texts: Sequence[RowText | None], limit: int
) -> None:
    """Print how many samples were never kept, always kept or flipping, and by which path.

    Args:
        console: The console to print to.
        summary: The summary.
        texts: The text of the example of each path; empty without texts.
        limit: Largest number of paths to print.
    """
    n = summary.table.num_rows
    what = "turns" if summary.kinds else "samples"
    visits = summary.table["visits"].to_numpy()
    least, most = visits.min(), visits.max()
    times = f"{most}" if least == most else f"{least} to {most}"
    _say(console, f"{n:,} {what}, {visits.sum():,} decisions: {times} visits of each.")
    for fate in FATES:
        names = summary.names(fate)
        if not len(names):
            continue
        some = ", ".join(clean(name, 40) for name in names.slice(0, _NAMED).to_pylist())
        more = ", ..." if len(names) > _NAMED else ""
        n_of_all = f"{len(names):,} ({len(names) / n:.1%})"
        _say(console, f"{FATE_WORDS[fate]}: {n_of_all}: {some}{more}")
    for kind in summary.kinds:
        _say(
            console,
            f"{words_of_kind(kind.kind)}: {kind.visits:,} decisions, {kind.kept_share:.1%} kept; "
            f"{share(kind.tokens_kept, kind.tokens):.1%} of their tokens.",
        )
    if not limit:
        return
    table = Table(
        title=f"By the quadrants that they went through: {_extent(limit, len(summary.paths))}",
        title_justify="left",
        expand=bool(texts),
    )
    table.add_column("path")
    for name in (what, *FATES):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("such as", no_wrap=True)
    if texts:
        table.add_column("prompt", no_wrap=True, ratio=1)
    for place, one in enumerate(summary.paths[:limit]):
        cells = [f"{one.samples:,}", *(f"{count:,}" for count in one.counts)]
        words = [Text(_prompt(texts[place]))] if texts else []
        table.add_row(one.path, *cells, Text(clean(one.example, 40)), *words)
    console.print(table)


def _by_sample(visit: Visit) -> dict[str, Text]:
    kind = f" {visit.kind}" if visit.kind else ""
    return {"sample": Text(clean(visit.sample_id, 40) + kind)}


def _by_step(visit: Visit) -> dict[str, Text]:
    return {"step": Text(f"{visit.step}"), "epoch": Text(f"{visit.epoch}")}


def _show_visits(
    console: Console,
    title: str,
    visits: Sequence[Visit],
    limit: int,
    first: Callable[[Visit], dict[str, Text]],
) -> None:
    """Print a table of at most ``limit`` visits; ``first`` gives the columns that name them."""
    if not limit:
        return
    shown = visits[:limit]
    table = Table(
        title=f"{title} (losses in nats a token): {_extent(limit, len(visits))}",
        title_justify="left",
    )
    for name in first(shown[0]):
        table.add_column(name, no_wrap=True)
    for name in ("ppl", "entropy", "before", "after", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("decision", overflow="fold", min_width=18)
    for visit in shown:
        before = _number(visit.loss_before)
        quadrant = f"{PLACE_LABELS[visit.quadrant]} " if visit.quadrant else ""
        words = [f"{quadrant}{clean(visit.reason, 80)}"]
        words += [_prompt(visit.text, 40)] if visit.text else []
        table.add_row(
            *first(visit).values(),
            _number(visit.ppl),
            _number(visit.entropy),
            before if visit.scored or before == "-" else f"({before})",
            _number(visit.loss_after),
            f"{visit.tokens_kept:,}/{visit.n_tokens:,}",
            Text("\n".join(words)),
        )
    console.print(table)
    if any(not visit.scored and math.isfinite(visit.loss_before) for visit in shown):
        _say(console, "(In brackets: scored at an earlier step, or before the run.)")


def _prompt(text: RowText | None, limit: int = 60) -> str:
    return "" if text is None else clean(text.prompt or text.answer, limit)


def _extent(limit: int, n: int) -> str:
    return f"the first {limit:,} of {n:,}" if limit < n else f"all {n:,}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.4g}"


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
