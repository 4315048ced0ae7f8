"""What each cost-saving switch costs in quality.

    python benchmarks/quality.py --output benchmarks/results/quality.json --work runs/quality
    python benchmarks/quality_table.py benchmarks/results/quality.json

Every method fine-tunes the same model on the same rows in the same order, in each setting and with
each seed; see ``quality_study.py`` for both. Recorded of each cell: the decisions of each epoch,
the held-out answer NLL, the share of word problems solved, the counts and times of the run. A
setting's rows are the same for all seeds: these change the order of the data and, with LoRA, the
adapter's first weights. Word problems are solved by greedy decoding; alpaca has no right answers,
so there the NLL stands alone.

Cell by cell, each in a process of its own. The output is rewritten after each cell, and a cell
that is in it is not run again, so the study can be stopped and started at will. Methods whose
switch this version of qtuning does not have are named and left out.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from machine import code_version, load_average, machine, versions
from quality_prepare import RECIPE
from quality_study import (
    INITIAL,
    METHODS,
    MODEL,
    SETTINGS,
    SMALL,
    STUDY,
    Cell,
    cell_key,
    cells,
    digest,
    fingerprints,
    missing_fields,
)

HERE = Path(__file__).parent


class Study:
    """The study's state: what is done, in the output file, and where the rest is worked on."""

    def __init__(self, output: Path, work: Path, model: Path, data: Path) -> None:
        """Read the output file if there is one."""
        self.output, self.work, self.model, self.data = output, work, model, data
        self.done: dict[str, Any] = {}
        self.prepared: dict[str, Any] = {}
        if output.is_file():
            before = json.loads(output.read_text())
            self.done, self.prepared = before["cells"], before["prepared"]
        self.files = {s.name: fingerprints(model, data, s) for s in SETTINGS}

    def key(self, cell: Cell) -> str:
        """The cell's key, see ``quality_study.cell_key``."""
        return cell_key(cell, self.files[cell.setting.name], RECIPE)

    def run(self, cell: Cell) -> bool:
        """Run a cell and put it on record; False if it failed."""
        config = dict(cell.method.config)
        for field, value in config.items():
            if value in (MODEL, INITIAL, SMALL):
                path = self.path_of(value, cell)
                if path is None:
                    return False
                config[field] = str(path)
        job = {
            "kind": "cell",
            "setting": asdict(cell.setting),
            "seed": cell.seed,
            "config": config,
            "trained": cell.method.trained,
        }
        load = load_average()
        figures = self.child(f"{cell.name}-{self.key(cell)}", job)
        if figures is None:
            return False
        self.done[self.key(cell)] = {
            "cell": cell.name,
            "setting": cell.setting.name,
            "method": cell.method.name,
            "seed": cell.seed,
            "code": code_version(),
            "load_average_before": load,
            **figures,
        }
        self.write()
        return True

    def path_of(self, value: str, cell: Cell) -> Path | None:
        """What a placeholder in a method's config stands for; made if need be."""
        if value == MODEL:
            return self.model
        files = self.files[cell.setting.name]
        if value == INITIAL:
            setting = asdict(cell.setting)
            name = f"initial-{cell.setting.name}-{digest([STUDY, setting, files])}"
            job = {"kind": "initial", "setting": setting}
            return self.prepare(name, job, "run")
        name = f"small-{digest([STUDY, RECIPE, self.files])}"
        return self.prepare(name, {"kind": "small"}, "model")

    def prepare(self, name: str, job: dict[str, Any], part: str) -> Path | None:
        """The folder of something prepared; made if it is not there."""
        folder = self.work / name
        if not (folder / "result.json").is_file():
            print(f"  preparing {name}", flush=True)
            if self.child(name, job) is None:
                return None
        self.prepared[name] = json.loads((folder / "result.json").read_text())
        return folder / part

    def child(self, name: str, job: dict[str, Any]) -> dict[str, Any] | None:
        """Run a job in a process of its own; its result, None if it failed."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        job = {**job, "model": str(self.model), "data": str(self.data)}
        (folder / "job.json").write_text(json.dumps(job, indent=1) + "\n")
        command = [sys.executable, str(HERE / "quality_cell.py"), str(folder / "job.json")]
        log = folder / "log.txt"
        with log.open("w") as file:
            code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
        if code:
            print(f"  FAILED with exit code {code}, see {log}:")
            print("".join(f"    {line}\n" for line in log.read_text().splitlines()[-5:]))
            return None
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return result

    def write(self) -> None:
        """Rewrite the output; it is whole at any moment."""
        whole = {
            "study": STUDY,
            "machine": machine() | {"versions": versions()},
            "model": self.model.name,
            "settings": {s.name: asdict(s) for s in SETTINGS},
            "methods": {m.name: asdict(m) for m in METHODS},
            "prepared": self.prepared,
            "cells": self.done,
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.output.with_name(f".{self.output.name}.tmp")
        temporary.write_text(json.dumps(whole, indent=1) + "\n")
        temporary.replace(self.output)

    def expected_seconds(self, cell: Cell) -> float:
        """Of the cells like it that are done, else of the setting's, else of all; NaN if none."""
        of_setting = [one for one in self.done.values() if one["setting"] == cell.setting.name]
        alike = [one for one in of_setting if one["method"] == cell.method.name]
        known = alike or of_setting or list(self.done.values())
        seconds = [sum(one["seconds"].values()) for one in known]
        return sum(seconds) / len(seconds) if seconds else float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet; 1 if a cell failed."""
    options = read_options(arguments)
    study = Study(options.output, options.work, options.model, options.data)
    usable = []
    for method in METHODS:
        missing = missing_fields(method)
        if missing:
            print(f"left out: {method.name}: this qtuning has no {', '.join(missing)}")
        else:
            usable.append(method)
    wanted = [
        cell
        for cell in cells(SETTINGS, usable, options.seeds)
        if re.search(options.only, cell.name)
    ]
    todo = [cell for cell in wanted if study.key(cell) not in study.done]
    print(f"{len(wanted)} cells, {len(wanted) - len(todo)} done", flush=True)
    if options.dry_run:
        print("".join(f"  {cell.name}\n" for cell in todo), end="")
        return 0
    failed = []
    for number, cell in enumerate(todo):
        left = sum(study.expected_seconds(other) for other in todo[number:])
        guess = "" if left != left else f", about {left / 60:.0f} min left"
        print(f"[{number + 1}/{len(todo)}] {cell.name}{guess}", flush=True)
        started = time.perf_counter()
        if study.run(cell):
            figures = study.done[study.key(cell)]
            solved = f", {figures['task']['accuracy']:.1%} solved" if "task" in figures else ""
            print(
                f"  NLL {figures['held_out']['nll']:.4f}{solved} "
                f"({time.perf_counter() - started:.0f} s)",
                flush=True,
            )
        else:
            failed.append(cell.name)
    if failed:
        print(f"failed: {', '.join(failed)}; run the command again to try again")
    return 1 if failed else 0


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the JSON")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the runs' files")
    parser.add_argument("--model", type=Path, default=Path("runs/smollm2"), help="its folder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the data sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="a regular expression on cells: A-exact-0")
    parser.add_argument("--dry_run", action="store_true", help="list the cells that are left")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
