"""The README's tables of speed and memory, from the committed results.

python benchmarks/headline.py            # says whether the README has them
python benchmarks/headline.py --write    # puts them in
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
    """Each table by the name of its place in the README."""
    return {
        "machine": machine_line(content),
        "speed": speed(content),
        "memory": memory(content),
        "pool": pool(content),
        "scoring": scoring(content),
    }


def machine_line(content: dict[str, Any]) -> str:
    """What it was measured on."""
    one = content["sessions"][-1]["machine"]
    return f"Measured on: {one['cpu']}, {one['cores']} cores, {one['memory_gib']} GiB of memory."


def speed(content: dict[str, Any]) -> str:
    """Time as a share of the stock trainer's, median and range over the repeats."""
    runs = suite_runs(content, "smollm2")
    found = {name: _by_method(rows(runs, setting)) for name, setting in _SETTINGS.items()}
    body = [
        [title, *(_range(found[name][method]) for name in _SETTINGS)]
        for title, method in _METHODS.items()
    ]
    return markdown(["time, of the stock `SFTTrainer`", *_SETTINGS], body)


def memory(content: dict[str, Any]) -> str:
    """Peak memory of the process in MiB."""
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
        found = _by_method(rows(runs, setting))
        cells = [f"{found[m].peak.median:,.0f}" for m in methods.values()]
        body.append([title, *cells])
    return markdown(["peak memory, MiB", *methods], body)


def pool(content: dict[str, Any]) -> str:
    """What ``pool_factor`` does to time and memory."""
    found = rows(suite_runs(content, "pool"), "smollm2-alpaca-lora-pool")
    body = []
    for row in found:
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
    """Three epochs with cheaper scoring."""
    found = _by_method(rows(suite_runs(content, "epochs"), "smollm2-alpaca-lora-3-epochs"))
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
        row = found[method]
        once = f", and {row.earlier:.2f} once" if row.earlier else ""
        body.append([title, f"{row.shares['scoring']:.0%}", _range(row) + once])
    return markdown(["scoring", "share of its time", "time, of the stock trainer"], body)


def _by_method(found: list[Row]) -> dict[str, Row]:
    return {row.method: row for row in found}


def _range(row: Row) -> str:
    assert row.ratio is not None
    return f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"


def with_tables(readme: str, content: dict[str, Any]) -> str:
    """The README with the tables between its marks ``<!-- name -->`` and ``<!-- /name -->``."""
    for name, table in readme_tables(content).items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, opened, rest = readme.partition(start)
        _, closed, after = rest.partition(end)
        assert opened, name
        assert closed, name
        readme = f"{before}{start}{table.rstrip()}\n{end}{after}"
    return readme


def main(arguments: list[str]) -> int:
    """Write the tables, or say whether they are there; returns the exit code."""
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
