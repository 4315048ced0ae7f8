"""Seconds and memory of ``qtuning inspect``, apart from those of the tokenizer.

    python benchmarks/inspection.py --output benchmarks/results/inspection.json

Rows are generated: conversations of words, of differing lengths, some of them twice. The rows are
read, checked and made tokens of first, as for training; then they are inspected. The memory of the
inspection is the largest resident size while it goes on, less the one before it began, on Linux.
"""

import argparse
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from machine import code_version, load_average, machine, versions
from sources import smollm2_folder

ROWS = 100_000
_STATUS = Path("/proc/self/status")
_LARGEST = Path("/proc/self/clear_refs")


def rows(number: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Conversations of one or two questions; every fiftieth row is an earlier one."""
    draw = random.Random(seed)
    words = [
        "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9)))
        for _ in range(5000)
    ]
    made: list[dict[str, Any]] = []
    for i in range(number):
        if i % 50 == 49:
            yield made[draw.randrange(len(made))]
            continue
        turns = [
            {"role": role, "content": " ".join(draw.choices(words, k=draw.randint(5, most)))}
            for _ in range(draw.randint(1, 2))
            for role, most in (("user", 40), ("assistant", 120))
        ]
        row = {"messages": turns}
        if len(made) < 1000:
            made.append(row)
        yield row


def measure(model: Path, number: int) -> dict[str, Any]:
    """Write rows, and inspect them."""
    from trl import DatasetMixtureConfig, ScriptArguments

    from qtuning import QTuningConfig
    from qtuning.inspection.inspect import inspect_prepared
    from qtuning.inspection.prepare import ModelSource, prepare
    from qtuning.io.data import load_rows

    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        with file.open("w") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows(number))
        started = time.perf_counter()
        script_args = ScriptArguments(dataset_name=str(file))
        data, where = load_rows(script_args, DatasetMixtureConfig(), "train")
        read = time.perf_counter()
        args = QTuningConfig(str(Path(folder) / "out"), report_to="none")
        ready = prepare(data, where, ModelSource(str(model)), args)
        before = _resident("VmRSS")
        _LARGEST.write_text("5")  # the largest size so far is forgotten
        tokenised = time.perf_counter()
        found, _ = inspect_prepared(ready, str(model), args)
        ended = time.perf_counter()
    return {
        "rows": number,
        "tokens": found.facts["tokens"]["input, total"],
        "seconds": {
            "reading": round(read - started, 1),
            "tokenising": round(tokenised - read, 1),
            "inspecting": round(ended - tokenised, 1),
        },
        "memory of inspecting, MiB": round(_resident("VmHWM") - before),
        "memory before, MiB": round(before),
        "findings": {one.name: one.count for one in found.findings},
    }


def _resident(name: str) -> float:
    """A size of this process in MiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return 0.0 if found is None else int(found[1]) / 1024


def main() -> None:
    """Measure, and write or print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--model", help="folder with SmolLM2-135M-Instruct")
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    content = {
        **measure(smollm2_folder(options.model), options.rows),
        "code": code_version(),
        "load": load_average(),
        "machine": machine(),
        "versions": versions(),
    }
    text = json.dumps(content, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
