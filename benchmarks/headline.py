"""The README's tables of speed and memory, from the committed results.

python benchmarks/headline.py            # checks that the README has the tables
python benchmarks/headline.py --write    # writes the tables into the README
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from machine import ROOT
from summary import Row, rows, suite_runs
from tables import markdown

RESULTS = ROOT / "benchmarks/results/speed.json"
README = ROOT / "README.md"
_SETTINGS = {
    "alpaca, LoRA": "smollm2-alpaca-lora",
    "alpaca, all weights": "smollm2-alpaca-full",
    "gsm8k, LoRA": "smollm2-gsm8k-lora",
    "gsm8k, all weights": "smollm2-gsm8k-full",
}
_METHODS = {
    "`full` (ratio 1.0)": "full",
    "`random` 12.5% x 50%": "random 12.5% x 50%",
    "`q-tuning` 12.5% x 50%": "q-tuning 12.5% x 50% mask",
    "`q-tuning` 25% x 50%": "q-tuning 25% x 50% mask",
    "`q-tuning` 50% x 70%": "q-tuning 50% x 70% mask",
}


def readme_tables(content: dict[str, Any]) -> dict[str, str]:
    """Make all tables, by the name of their place in the README."""
    return {
        "machine": machine_line(content),
        "speed": speed(content),
        "memory": memory(content),
        "pool": pool(content),
        "scoring": scoring(content),
    }


def machine_line(content: dict[str, Any]) -> str:
    """Describe the machine of the last session in a sentence."""
    one = content["sessions"][-1]["machine"]
    return f"Measured on: {one['cpu']}, {one['cores']} cores, {one['memory_gib']} GiB of memory."


def speed(content: dict[str, Any]) -> str:
    """Make the table of times, as shares of the stock trainer's: median and range of repeats."""
    runs = suite_runs(content, "smollm2")
    row_of = {name: _by_method(rows(runs, setting)) for name, setting in _SETTINGS.items()}
    body = [
        [title, *(_range(row_of[name][method]) for name in _SETTINGS)]
        for title, method in _METHODS.items()
    ]
    return markdown(["time, of the stock `SFTTrainer`", *_SETTINGS], body)


def memory(content: dict[str, Any]) -> str:
    """Make the table of the process's peak memory in MiB."""
    runs = suite_runs(content, "memory")
    names = {
        "SmolLM2, alpaca, LoRA": "smollm2-alpaca-lora",
        "SmolLM2, alpaca, all weights": "smollm2-alpaca-full",
        "30M parameters, 2,048 tokens, all weights": "llama-30m-seq2048-v49k",
    }
    methods = {
        "stock": "stock",
        "ratio 1.0": "full",
        "12.5% x 50%": "q-tuning 12.5% x 50% mask",
        "25% x 50%": "q-tuning 25% x 50% mask",
    }
    body = []
    for title, setting in names.items():
        row_of = _by_method(rows(runs, setting))
        cells = [f"{row_of[m].peak.median:,.0f}" for m in methods.values()]
        body.append([title, *cells])
    return markdown(["peak memory, MiB", *methods], body)


def pool(content: dict[str, Any]) -> str:
    """Make the table of time and memory by ``pool_factor``."""
    measured_rows = rows(suite_runs(content, "pool"), "smollm2-alpaca-lora-pool")
    body = []
    for row in measured_rows:
        match = re.search(r"pool_factor (\d+), batch (\d+)", row.method)
        if match is None:
            continue
        factor, batch = map(int, match.groups())
        candidates = 4 * factor * batch
        trained = f"{max(1, candidates // 8)} of {candidates}"
        cells = [str(factor), str(batch), trained, _range(row), f"{row.peak.median:,.0f}"]
        body.append(cells)
    head = ["`pool_factor`", "`per_device_train_batch_size`", "trained on in a step"]
    return markdown([*head, "time, of the stock trainer", "peak memory, MiB"], body)


def scoring(content: dict[str, Any]) -> str:
    """Make the table of cheaper scoring over three epochs."""
    row_of = _by_method(rows(suite_runs(content, "epochs"), "smollm2-alpaca-lora-3-epochs"))
    methods = {
        "exact": "q-tuning 12.5% x 50% mask",
        "`score_refresh: 0.25`": "q-tuning 12.5% x 50% mask, score_refresh 0.25",
        "`score_refresh: 0.1`": "q-tuning 12.5% x 50% mask, score_refresh 0.1",
        "`initial_scores`, `score_refresh: 0.1`": "q-tuning 12.5% x 50% mask, earlier scores, "
        "score_refresh 0.1",
        "a scorer of 10 of the 30 layers": "q-tuning 12.5% x 50% mask, smaller scorer",
        "`random` (no scoring)": "random 12.5% x 50%",
    }
    body = []
    for title, method in methods.items():
        row = row_of[method]
        first_cost = f", and {row.earlier:.2f} once" if row.earlier else ""
        body.append([title, f"{row.shares['scoring']:.0%}", _range(row) + first_cost])
    return markdown(["scoring", "share of its time", "time, of the stock trainer"], body)


def _by_method(rows_of_setting: list[Row]) -> dict[str, Row]:
    return {row.method: row for row in rows_of_setting}


def _range(row: Row) -> str:
    assert row.ratio is not None
    return f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"


def with_tables(readme: str, content: dict[str, Any]) -> str:
    """Put the tables between the README's marks ``<!-- name -->`` and ``<!-- /name -->``."""
    for name, table in readme_tables(content).items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, start_mark, rest = readme.partition(start)
        _, end_mark, after = rest.partition(end)
        assert start_mark, name
        assert end_mark, name
        readme = f"{before}{start}{table.rstrip()}\n{end}{after}"
    return readme


def main(arguments: list[str]) -> int:
    """Write the tables into the README, or check them; return the exit code."""
    before = README.read_text(encoding="utf-8")
    after = with_tables(before, json.loads(RESULTS.read_text()))
    if "--write" in arguments:
        README.write_text(after, encoding="utf-8")
    elif after != before:
        print(f"{README.name} is not up to date: {Path(__file__).name} --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
