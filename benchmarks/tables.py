"""Tables of the measurements in Markdown."""

from collections.abc import Iterable
from typing import Any

from cases import ALL, SUITES
from summary import SHARES, Range, Row, Run, forward_rows, rows, settings, suite_runs

TITLES = {
    "smollm2": "SmolLM2-135M",
    "pool": "What pool_factor does",
    "models": "Random Llamas: size, sequence length, vocabulary",
    "epochs": "Cheaper scoring: three epochs, and one pass",
    "memory": "Peak memory",
    "tiny": "Tiny",
}
CAPTION = """\
- **time**: wall-clock time of the counted optimizer steps, as a share of the stock `SFTTrainer`'s
  on all candidates of the same repeat: median (lowest to highest) over the repeats.
- **bound**: the least that the arithmetic allows, as the same share: scored tokens at the speed of
  a forward pass, plus trained tokens at the stock trainer's speed of forward and backward passes,
  plus what the stock trainer spends on each step besides. All speeds are measured in the same
  repeat (`bound.py` has the definition). **over bound**: measured over bound.
- **over strict**: measured over the bound at speeds in tokens through the model, padding included,
  as if nobody padded. Where samples differ much in length, padding slows the stock trainer so much
  that a run can get below the other bound.
- **(F + 3B)/3**: the same bound by counting alone, scored and trained tokens over all, a backward
  pass as dear as two forward passes; `(1 + 3r)/3` where samples are equally long.
  A smaller scorer is held to the bound of the model's own forward pass.
- **tokens/s**: input tokens of all candidates, trained on or not, a second.
- **forward**, **backward**: tokens through forward passes (scoring and training) and through
  backward passes, as shares of the input tokens of all candidates. Padding is not counted.
- **padding**: tokens through the model, padding included, over tokens of samples; a smaller
  scorer's are not in it.
- **scoring ... rest**: shares of the time. The rest is the optimizer, gradient clipping and
  reading rows; the stock trainer's collation is in its rest.
- **peak**: highest resident memory in the counted steps; **above model**: without what the process
  held once the model was loaded.
"""


def document(content: dict[str, Any]) -> str:
    """Make the page with all tables of a results file."""
    parts = ["# Speed and memory\n", _origin(content), CAPTION]
    for suite in (*ALL, *(name for name in SUITES if name not in ALL)):
        if runs := suite_runs(content, suite):
            parts.append(f"## {TITLES[suite]}\n")
            parts += [_setting(runs, name) for name in settings(runs)]
    return "\n".join(parts)


def _origin(content: dict[str, Any]) -> str:
    session_numbers = sorted({run["session"] for run in content["runs"]})
    lines = ["Made from the JSON of the same name by `benchmarks/report.py`. Measured by:\n"]
    for number in session_numbers:
        one = content["sessions"][number]
        machine = one["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        changes = " with uncommitted changes" if one["uncommitted_changes"] else ""
        lines.append(
            f"- `{one['command']}`, {one['date'][:10]}, commit {str(one['commit'])[:10]}{changes}; "
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
            f"{one['threads']} threads, {one['precision']}; {versions}."
        )
    lines.append("\nCPU only; not yet run on a GPU.\n")
    return "\n".join(lines)


def _setting(runs: list[Run], name: str) -> str:
    setting_runs = [run for run in runs if run["setting"]["name"] == name]
    parts = [f"### {name}\n", f"{describe(setting_runs)}\n"]
    if method_rows := rows(runs, name):
        parts.append(table(method_rows))
    if pass_rows := forward_rows(runs, name):
        least = pass_rows[0].working.median
        body = [
            [
                row.method,
                _mib(row.working),
                f"{row.working.median / least:.2f}",
                f"{row.seconds.median:.2f}",
            ]
            for row in pass_rows
        ]
        parts.append(markdown(["one forward", "above model", "of the first", "seconds"], body))
    return "\n".join(parts)


def describe(runs: list[Run]) -> str:
    """Describe a setting in a sentence or two."""
    setting, first = runs[0]["setting"], runs[0]
    sizes = {run["parameters"] for run in runs if "parameters" in run}
    size = f", {min(sizes) / 1e6:.1f}M parameters" if sizes else ""
    tuning = "LoRA, rank 8 on all linear layers" if setting["tuning"] == "lora" else "all weights"
    steps = max((run["counts"]["steps"] for run in runs if "counts" in run), default=None)
    repeats = len({run["repeat"] for run in runs})
    text = (
        f"{tuning}{size}; rows: {first['data']['source']}, {setting['rows']} in each of "
        f"{setting['epochs']} epoch(s), at most {setting['max_length']} tokens; batch "
        f"{setting['batch']} x accumulation {setting['accumulation']}"
    )
    text += f", {steps} optimizer step(s)" if steps else ""
    text += ". One repeat" if repeats == 1 else f". {repeats} repeats, each with other rows"
    sources = {run["source"] for run in runs}
    cpu_share = min(run["cpu_seconds"] / run["seconds"] / run["threads"] for run in runs)
    text += f". The processes had at least {cpu_share:.0%} of the cores' time"
    warning = "" if len(sources) == 1 else " **Measured with different sources: measure again.**"
    return f"{text[0].upper()}{text[1:]}.{warning}"


def table(found: list[Row]) -> str:
    """Make a table with a row for each method."""
    head = ["method", "time", "bound", "over bound", "over strict", "(F + 3B)/3", "tokens/s"]
    head += ["forward", "backward", "padding", *SHARES, "peak", "above model"]
    body = [
        [
            row.method,
            _range(row.ratio) + (f" + {row.earlier:.3f} once" if row.earlier else ""),
            _middle(row.bound),
            _range(row.over_bound),
            _middle(row.over_strict),
            "" if row.plain is None else f"{row.plain:.3f}",
            f"{row.tokens_a_second.median:,.0f}",
            f"{row.forward:.1%}",
            f"{row.backward:.1%}",
            f"{row.padding:.2f}",
            *(f"{row.shares[name]:.1%}" for name in SHARES),
            _mib(row.peak),
            _mib(row.working),
        ]
        for row in found
    ]
    return markdown(head, body)


def markdown(head: list[str], body: Iterable[list[str]]) -> str:
    """Format a table whose first column is text and whose other columns are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _range(values: Range | None) -> str:
    if values is None:
        return ""
    if values.low == values.high:
        return f"{values.median:.3f}"
    return f"{values.median:.3f} ({values.low:.3f} to {values.high:.3f})"


def _middle(values: Range | None) -> str:
    return "" if values is None else f"{values.median:.3f}"


def _mib(values: Range) -> str:
    return f"{values.median:,.0f} MiB"
