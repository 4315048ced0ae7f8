"""What the fuzzer runs: every reader of files that somebody else may have written."""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from trl import DatasetMixtureConfig, ScriptArguments

from qtuning import read_ledger
from qtuning.commands import main as cli
from qtuning.commands.train_arguments import parse
from qtuning.compare.figures import Line
from qtuning.compare.grid import Data, read_grid
from qtuning.compare.record_file import read_record
from qtuning.compare.rows import read_rows
from qtuning.compare.tables import csv_text, markdown, tables
from qtuning.errors import UsageError
from qtuning.io.data import load_rows
from qtuning.io.formats import to_trl
from qtuning.io.models import load_causal_lm, load_tokenizer
from qtuning.run.initial_scores import read_initial_scores
from qtuning.run.pruner_memory import PrunerMemory
from qtuning.signals.reference_store import ReferenceStore
from qtuning.signals.score_store import ScoreStore

from .sound import table_with_another_column

Reader = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        folder: Of the sound files; one of them is broken.
        files: Patterns of those that may be.
        read: Reads the broken one; it does, or raises UsageError.
        tables: Whether to break columns of scores too, not only bytes.
    """

    folder: str
    files: Sequence[str]
    read: Reader
    tables: bool = False


def command(*words: object) -> None:
    """A command that ends with 2 has said why."""
    if cli.main([str(word) for word in words]):
        raise UsageError("refused")


def prune(file: Path, draw: random.Random) -> None:
    options = ["--token_pruner", draw.choice(["q-tuning", "random", "none", "ppl", "surprising"])]
    options += ["--sample_pruner", draw.choice(["q-tuning", "random", "ppl-mid", "q-tuning-ranks"])]
    options += ["--format", draw.choice(["parquet", "jsonl", "datasets", "llamafactory", "trl"])]
    command("prune", file, *options, "--sample_ratio", 0.5, "--output", file.with_name("out"))


def report(file: Path, draw: random.Random) -> None:
    source = file if file.name == "scores.parquet" else file.parent
    command("report", source, "--output", file.with_name("out.html"))


def explain(file: Path, draw: random.Random) -> None:
    run = file.parent if file.suffix == ".json" else file.parents[1]
    views = ["--step", draw.choice([1, 3, 9]), "--spikes", "--sample", draw.choice(["s1", "x"])]
    command("explain", run, *draw.choice([views[:2], views[2:3], views[3:], []]), "--summary")


def diff(file: Path, draw: random.Random) -> None:
    options = ["--against_sample_ratio", 0.5, "--output", file.with_name("out.json")]
    command("diff", file, file, *options)


def data(file: Path, draw: random.Random) -> None:
    path = file.parent if file.parent.name == "saved" else file
    script_args = ScriptArguments(dataset_name=str(path))
    for _row in to_trl(*load_rows(script_args, DatasetMixtureConfig(), "train"), chat=True):
        pass


def stores(file: Path, draw: random.Random) -> None:
    store = {"scores": ScoreStore, "reference": ReferenceStore, "memory": PrunerMemory}[file.stem]
    store().load(file)


def grid(file: Path, draw: random.Random) -> None:
    read_grid(file).cells()


def config(file: Path, draw: random.Random) -> None:
    parse(["--config", str(file), "--output_dir", str(file.with_name("out"))])


def records(file: Path, draw: random.Random) -> None:
    read_ledger(file.parent)


def score(file: Path, draw: random.Random) -> None:
    flags = ["--model_name_or_path", file.parents[1] / "model", "--dataset_name", file]
    command("score", *flags, "--per_token", "--output", file.with_name("out.parquet"))


def model(file: Path, draw: random.Random) -> None:
    load_tokenizer(str(file.parent))
    load_causal_lm(str(file.parent))


def gguf(file: Path, draw: random.Random) -> None:
    load_tokenizer(str(file))
    load_causal_lm(str(file))


def initial_scores(file: Path, draw: random.Random) -> None:
    read_initial_scores(file)


def adapter(file: Path, draw: random.Random) -> None:
    load_causal_lm(str(file.parent))


def rows(file: Path, draw: random.Random) -> None:
    read_rows([str(file)], "\n")


def results(file: Path, draw: random.Random) -> None:
    record = read_record(file)
    line = Line("m", Data("d", ("x",), score=("=t:m",)), "a", "", {0: record})
    markdown(tables([line]))
    csv_text([line])


_TABLE = ("scores.parquet",)
_RUN = ("budget.json", "pruning_settings.json", "trainer_state.json", "ledger/*.parquet")
TARGETS = {
    "prune": Target("scores", _TABLE, prune, tables=True),
    "report": Target("scores", _TABLE, report, tables=True),
    "report-run": Target("run", _RUN, report),
    "explain": Target("run", _RUN, explain),
    "diff": Target("scores", _TABLE, diff, tables=True),
    "data": Target("data", ("*.*", "saved/*"), data),
    "stores": Target("stores", ("*",), stores),
    "grid": Target("yaml", ("grid.yaml",), grid),
    "config": Target("yaml", ("config.yaml",), config),
    "records": Target("run", ("ledger/*.parquet",), records),
    "score": Target("data", ("*.jsonl", "*.csv"), score),
    "model": Target("model", ("*.json", "*.jinja", "*.safetensors"), model),
    "gguf": Target("gguf", ("*.gguf",), gguf),
    "initial_scores": Target("scores", _TABLE, initial_scores, tables=True),
    "adapter": Target("adapter", ("*.json", "*.safetensors"), adapter),
    "rows": Target("rows", ("rows.jsonl",), rows),
    "results": Target("results", ("cell.json",), results),
}


def broken_table(file: Path, draw: random.Random) -> None:
    """Write scores with another column in place of the file."""
    pq.write_table(table_with_another_column(draw), file)


def options() -> argparse.Namespace:
    """The fuzzer's own command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    parser.add_argument("--case", type=int, help="this case only, in this process")
    return parser.parse_args()
