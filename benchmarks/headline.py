"""The tables of speed and memory in the README and the docs, from the committed results.

python benchmarks/headline.py            # says whether the pages have them
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
PLACES = {
    "README.md": ("headline",),
    "docs/what-it-costs.md": ("machine", "speed", "memory", "pool"),
    "docs/cheaper-scoring.md": ("scoring",),
}
"""Page: the tables that it has."""
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


def tables_by_name(content: dict[str, Any]) -> dict[str, str]:
    """Each table by the name of its place."""
    return {
        "headline": headline(content),
        "machine": machine_line(content),
        "speed": speed(content),
        "memory": memory(content),
        "pool": pool(content),
        "scoring": scoring(content),
    }


def headline(content: dict[str, Any]) -> str:
    """Time and memory of SmolLM2 on alpaca, medians; memory where the suite has the method."""
    settings = {"LoRA": "smollm2-alpaca-lora", "all weights": "smollm2-alpaca-full"}
    methods = {
        "stock `SFTTrainer`": "stock",
        "`random` 12.5% x 50%": "random 12.5% x 50%",
        "`q-tuning` 12.5% x 50%": "q-tuning 12.5% x 50% mask",
        "`q-tuning` 25% x 50%": "q-tuning 25% x 50% mask",
    }
    body = [[title] for title in methods]
    for suite in ("smollm2", "memory"):
        runs = suite_runs(content, suite)
        for setting in settings.values():
            found = _by_method(rows(runs, setting))
            for cells, method in zip(body, methods.values(), strict=True):
                row = found.get(method)
                if suite == "memory":
                    cells.append("" if row is None else f"{row.peak.median:,.0f}")
                else:
                    ratio = None if row is None else row.ratio
                    cells.append("1.00" if ratio is None else f"{ratio.median:.2f}")
    head = [f"{what}, {name}" for what in ("time", "memory") for name in settings]
    return markdown(["", *head], body)


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


def with_tables(page: str, tables: dict[str, str]) -> str:
    """The page with the tables between its marks ``<!-- name -->`` and ``<!-- /name -->``."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, opened, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        assert opened, name
        assert closed, name
        page = f"{before}{start}{table.rstrip()}\n{end}{after}"
    return page


def pages(content: dict[str, Any]) -> dict[Path, str]:
    """Each page as it must be."""
    tables = tables_by_name(content)
    return {
        ROOT / path: with_tables(
            (ROOT / path).read_text(encoding="utf-8"), {name: tables[name] for name in names}
        )
        for path, names in PLACES.items()
    }


def main(arguments: list[str]) -> int:
    """Write the tables, or say whether they are there; returns the exit code."""
    code = 0
    for path, text in pages(json.loads(RESULTS.read_text())).items():
        if "--write" in arguments:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            print(f"{path.name} is not up to date: {Path(__file__).name} --write", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
