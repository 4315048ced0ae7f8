"""What holds and how fast it is on one GPU: checks and tables, in a few minutes.

    python benchmarks/gpu.py --minutes 8 --output gpu.json
    python benchmarks/gpu.py --tiny --output /tmp/gpu.json     # a test of the script, on any CPU

No network and no weights are needed: models are random, of the shapes of SmolLM2-135M, SmolLM2-1.7B
and Llama 8B; rows are random tokens of real lengths. What is found is written at once, as JSON and
as Markdown beside it. Sections go by importance; where the time is over, they say that they were
left out.
"""

import argparse
import contextlib
import faulthandler
import importlib.metadata
import io
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
import gpu_checks
import gpu_heads
import gpu_steps
import gpu_tables
import gpu_waits
import torch
from gpu_subjects import Place
from machine import session
from transformers.utils.logging import disable_progress_bar

from qtuning import UsageError

NO_GPU = "benchmarks/gpu.py: torch finds no GPU on this machine; --tiny tests the script on the CPU"
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, OSError, UsageError)
"""What a section may raise where it never ran before; the next one is tried all the same."""
GRACE = 60
"""Seconds after the end until a process that hangs is ended."""
LATE = 0.02
"""Share of the time that must be left for a section to begin."""


def main(arguments: list[str]) -> int:
    """Measure; return 0 if all checks hold, 1 if one does not, 2 where there is no GPU."""
    options = read_options(arguments)
    if not options.tiny and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    seconds = 60 * options.minutes
    if not options.tiny:
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True)
    datasets.disable_progress_bars()
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = Place(
            torch.device("cpu" if options.tiny else "cuda"),
            options.tiny,
            Path(scratch),
            time.perf_counter() + seconds,
            options.model,
            options.data,
        )
        results = Results(options.output, session(arguments, torch.get_num_threads(), "gpu.py"))
        told = results.content["session"]
        told["machine"]["gpu"] = gpu(place)
        told["precision"] = "bfloat16 weights and autocast" if place.cuda else "float32"
        for name, kind, found in sections(place):
            run(place, results, name, kind, found, LATE * seconds)
    if not options.tiny:
        faulthandler.cancel_dump_traceback_later()
    return 0 if gpu_tables.holds(results.content) else 1


def read_options(arguments: list[str]) -> argparse.Namespace:
    """Parse the options of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="when to end")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument(
        "--model", type=Path, help="folder with a saved model in place of the random 135M"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="with --model: folder with gsm8k/train.jsonl, in place of random tokens",
    )
    parser.add_argument("--tiny", action="store_true", help="a test of the script, on the CPU")
    options = parser.parse_args(arguments)
    if options.model is not None and not (options.model / "config.json").exists():
        parser.error(f"--model {options.model}: config.json is missing; name a saved model")
    if options.data is not None and options.model is None:
        parser.error("--data needs --model, whose tokens its rows become")
    return options


def gpu(place: Place) -> str:
    """Describe the GPU and what drives it."""
    if not place.cuda:
        return "none: a test of the script on the CPU; no figure here means anything"
    triton = importlib.metadata.version("triton")
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    name = torch.cuda.get_device_name()
    cudnn = torch.backends.cudnn.version()
    return f"{name}, {memory:.0f} GiB, CUDA {torch.version.cuda}, cuDNN {cudnn}, Triton {triton}"


def sections(place: Place) -> Iterator[tuple[str, str, Iterator[dict[str, Any]]]]:
    """Yield name, kind and findings of all sections, the most important first."""

    def one(measure: Callable[..., dict[str, Any]], *what: Any) -> Iterator[dict[str, Any]]:
        yield measure(place, *what)

    yield "ratio 1.0", "checks", one(gpu_checks.ratio_one)
    yield "resume", "checks", one(gpu_checks.resume)
    yield "decisions, gsm8k", "heads", gpu_heads.decisions(place, "gsm8k")
    yield "pruners", "pruners", gpu_checks.pruners(place)
    settings = gpu_steps.settings(place)
    rounds = max(setting.rounds for setting in settings)
    for number in range(rounds):
        for setting in settings:
            if number < setting.rounds:
                for way in setting.ways:
                    name = f"steps, {setting.name}, round {number + 1}, {way}"
                    yield name, "steps", one(gpu_steps.measure, setting, way, number)
        if number == 0:
            yield "bound, 12.5%", "bounds", gpu_steps.bound(place, settings[0], 0.125)
            for way in gpu_waits.WAYS:
                yield f"waits, {way}", "waits", one(gpu_waits.measure, way)
            for way in [*gpu_waits.WAYS][:2] if place.cuda else ():
                yield f"profile, {way}", "profiles", one(gpu_waits.profiled, way)
            yield "scoring, gsm8k", "scoring", gpu_heads.scoring(place, "gsm8k")
    yield "bound, 25%", "bounds", gpu_steps.bound(place, settings[0], 0.25)
    for setting in settings[1:]:
        yield f"bound, {setting.name}", "bounds", gpu_steps.bound(place, setting, 0.125)
    yield "decisions, lima", "heads", gpu_heads.decisions(place, "lima")
    yield "scoring, lima", "scoring", gpu_heads.scoring(place, "lima")


def run(
    place: Place,
    results: "Results",
    name: str,
    kind: str,
    found: Iterator[dict[str, Any]],
    enough: float,
) -> None:
    """Run a section, and write down what it finds; say so if there is no time, or if it fails."""
    began, said = time.perf_counter(), "done"
    if place.left < enough:
        said = "left out: the time is over"
    else:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # what trainers log
                for one in found:
                    results.add(kind, one)
        except FAILURES as error:
            said = f"FAILED: {type(error).__name__}: {str(error)[:500]}"
        if said == "done" and place.left < 0:
            said = "cut short: the time was over"
    place.free()
    seconds = time.perf_counter() - began
    results.add("sections", {"name": name, "seconds": seconds, "said": said})
    print(f"{name}: {said} ({seconds:.1f} s)", flush=True)


class Results:
    """The findings: a JSON file, and the page made of it beside it."""

    def __init__(self, file: Path, circumstances: dict[str, Any]) -> None:
        """Begin anew.

        Args:
            file: The JSON file.
            circumstances: Command, machine, versions.
        """
        self._file = file
        kinds = ["checks", "heads", "pruners", "steps", "bounds", "waits"]
        kinds += ["profiles", "scoring", "sections"]
        self.content: dict[str, Any] = {"schema": 1, "session": circumstances}
        self.content |= {kind: [] for kind in kinds}

    def add(self, kind: str, one: dict[str, Any]) -> None:
        """Add a finding, and replace the files as a whole."""
        self.content[kind].append(one)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        page = gpu_tables.document(self.content)
        for file, text in (
            (self._file, json.dumps(self.content, indent=1) + "\n"),
            (self._file.with_suffix(".md"), page),
        ):
            new = file.with_name(f".{file.name}.new")
            new.write_text(text, encoding="utf-8")
            new.replace(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
