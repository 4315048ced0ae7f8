"""Tables of a comparison, in Markdown, CSV and LaTeX."""

import csv
import io
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .figures import FULL, MEASURES, RANDOM, Line, groups, partner
from .statistics import Interval, paired

NOTHING = ""
_LATEX = {character: f"\\{character}" for character in "&%_#${}"}
_LATEX |= {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
_LATEX |= {"±": "$\\pm$"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first two columns are names."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(all_lines: Sequence[Line]) -> list[Table]:
    """Make two tables for each model and data set: one of the results, one of the cost."""
    result = []
    for title, group in groups(all_lines).items():
        result.append(Table(title, _header(group), tuple(_row(line, group) for line in group)))
        cost = tuple(_cost_row(line, group) for line in group if line.values("compute"))
        header = ("budget", "method", "samples", "answer tokens", "compute", "time", "seeds")
        result.append(Table(f"{title}: cost, as shares of full training", header, cost))
    return result


def _header(group: Sequence[Line]) -> tuple[str, ...]:
    tasks = [_short(spec) for spec in group[0].data.score]
    average = ["score"] if len(tasks) > 1 else []
    differences = [f"score minus {RANDOM}", f"score minus {FULL}"] if tasks else []
    nll = ["NLL", f"NLL minus {RANDOM}", f"NLL minus {FULL}"]
    tokens = ["token accuracy", "calibration error"]
    return ("budget", "method", *tasks, *average, *differences, *nll, *tokens)


def _row(line: Line, group: Sequence[Line]) -> tuple[str, ...]:
    tasks = [percent(line.of_task(spec)) for spec in line.data.score]
    average = [percent(line.mean("score"))] if len(tasks) > 1 else []
    differences = (
        [percent(_difference_to(line, group, m, "score")) for m in (RANDOM, FULL)] if tasks else []
    )
    nll = [
        number(line.mean("nll")),
        *(number(_difference_to(line, group, method, "nll")) for method in (RANDOM, FULL)),
    ]
    tokens = [percent(line.mean(measure)) for measure in ("accuracy", "calibration_error")]
    return (line.budget or NOTHING, line.method, *tasks, *average, *differences, *nll, *tokens)


def _cost_row(line: Line, group: Sequence[Line]) -> tuple[str, ...]:
    full = partner(line, group, FULL)
    seconds = {} if full is None else full.values("seconds")
    time = paired(line.values("seconds"), seconds, operator.truediv)
    shares = [percent(line.mean(measure)) for measure in ("samples", "answer_tokens", "compute")]
    return (line.budget or NOTHING, line.method, *shares, percent(time), str(len(line.records)))


def _difference_to(line: Line, group: Sequence[Line], method: str, measure: str) -> Interval | None:
    other = partner(line, group, method)
    if other is None or other is line or not line.values("compute"):
        return None
    return line.minus(other, measure)


def _short(spec: str) -> str:
    return spec.removeprefix("local_").replace(":", " ").replace("exact_match,", "")


def percent(value: Interval | None) -> str:
    """Format a share in percent with one decimal; empty for None."""
    return number(value, 100.0, 1)


def number(value: Interval | None, factor: float = 1.0, decimals: int = 3) -> str:
    """Format the mean and half width of an interval; of a single value only the value."""
    if value is None:
        return NOTHING
    # A mean that rounds to zero has no sign, which depends on the order of the sum.
    mean = f"{round(factor * value.mean, decimals) + 0.0:.{decimals}f}"
    return mean if value.n == 1 else f"{mean} ± {factor * value.half_width:.{decimals}f}"


def markdown(some: Sequence[Table]) -> str:
    """Format tables as Markdown."""
    return "\n".join(line for table in some for line in _markdown(table)) + "\n"


def _markdown(table: Table) -> Iterator[str]:
    yield f"### {_escape_markdown(table.title)}\n"
    for number_, row in enumerate((table.header, *table.rows)):
        yield "| " + " | ".join(map(_escape_markdown, row)) + " |"
        if number_ == 0:
            yield "|---|---|" + "---:|" * (len(table.header) - 2)
    yield ""


def _escape_markdown(text: str) -> str:
    """Escape the characters of a name that Markdown or HTML would interpret."""
    for character in "\\`|<>[]":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def latex(some: Sequence[Table]) -> str:
    """Format tables as LaTeX, which needs the package booktabs."""
    return "\n".join(line for table in some for line in _latex(table)) + "\n"


def _latex(table: Table) -> Iterator[str]:
    yield "\\begin{table}\n\\centering"
    yield f"\\caption{{{_escape_latex(table.title)}}}"
    yield f"\\begin{{tabular}}{{ll{'r' * (len(table.header) - 2)}}}\n\\toprule"
    for place, row in enumerate((table.header, *table.rows)):
        yield " & ".join(map(_escape_latex, row)) + " \\\\"
        if place == 0:
            yield "\\midrule"
    yield "\\bottomrule\n\\end{tabular}\n\\end{table}\n"


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def csv_text(all_lines: Sequence[Line]) -> str:
    """Format one CSV line for each run and measure: the run's names and seed, and the value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("model", "data", "method", "budget", "seed", "measure", "value"))
    for line in all_lines:
        place = tuple(map(_quote_formula, (line.model, line.data.name, line.method, line.budget)))
        for seed in sorted(line.records):
            for measure, value in _measures(line, seed):
                writer.writerow((*place, seed, _quote_formula(measure), f"{value:.6g}"))
    return out.getvalue()


def _quote_formula(text: str) -> str:
    """Quote a text that begins like a formula, which spreadsheets would compute."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _measures(line: Line, seed: int) -> Iterator[tuple[str, float]]:
    record = line.records[seed]
    for name, measure in MEASURES.items():
        value = measure(record, line.data)
        if value is not None:
            yield name, value
    for name, other in record.get("forgetting", {}).items():
        yield f"nll of {name}", other["nll"]
        yield f"nll of {name}, untrained", other["before"]["nll"]
    for one in record.get("tasks", ()):
        yield f"{one['task']}:{one['metric']},{one['filter']}", one["value"]
