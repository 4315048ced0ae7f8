"""The record of a run: counts, metrics and ledger, saved and resumed with its checkpoints."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from accelerate.logging import get_logger
from transformers import TrainingArguments

from ..arguments import PruningArguments
from ..errors import UsageError, first_line
from ..step.two_pass import StepResult
from ..step.work import StepCounts
from .card import CARD, PLANE_FILE, describe_run
from .ledger import FOLDER, SCHEMA, Ledger, ledger_schema, read_last, writing
from .messages import MetricWindow, is_quiet, print_budget, step_metrics
from .probe_rows import PROBE_FOLDER, PROBE_SCHEMA, ProbeRow
from .records import ledger_rows

logger = get_logger(__name__)

STATE_FILE = "pruning_state.json"
SCORES_FILE = "pruning_scores.parquet"
REFERENCE_FILE = "pruning_reference.parquet"
MEMORY_FILE = "pruning_memory.safetensors"
BUDGET_FILE = "budget.json"
SETTINGS_FILE = "pruning_settings.json"
_MARKS = "records"
_DATA = "data"
_LIMITS = "pass_limits"


class Store(Protocol):
    """State that a run keeps in its checkpoints."""

    def save(self, path: Path) -> None:
        """Write the state to a file."""

    def load(self, path: Path) -> None:
        """Replace the state by that of a file that ``save`` wrote."""


class RunRecord(AbstractContextManager["RunRecord"]):
    """The record of one run; only the main process writes files.

    The end of the `with` block closes all of them.

    Attributes:
        window: Metrics since the last log.
        counts: Counts of all steps so far.
        pass_limits: The most tokens of a scoring pass on each rank, see ``PassLimit``.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """An empty record.

        Args:
            folder: The run's output folder.
            settings: The fields of ``PruningArguments``, for readers of the record.
        """
        self.window = MetricWindow()
        self.counts = StepCounts()
        self.pass_limits: Sequence[int | None] = ()
        self._folder, self._settings = folder, settings
        self._is_main = False
        self._stores: Mapping[str, Store] = {}
        self._ledger: Ledger | None = None
        self._probe: Ledger | None = None
        self._marks: Mapping[str, dict[str, int]] = {}  # of ledger and probe, at the checkpoint
        self._data: str | None = None
        self._started = 0.0

    def begin(
        self,
        step: int,
        checkpoint: Path | None,
        *,
        is_main: bool,
        stores: Mapping[str, Store],
        probes: bool = False,
        data: str | None = None,
        weighs_tokens: bool = False,
    ) -> None:
        """Begin the record at a step, from a checkpoint if the run resumes.

        Args:
            step: Optimizer steps done.
            checkpoint: The checkpoint that the run resumes from; None for a new run.
            is_main: Whether this process writes files.
            stores: State of the run by file name within a checkpoint; loaded from
                ``checkpoint``.
            probes: Whether there is a probe set.
            data: The mark of the training data, see ``data_mark``; None is not compared.
            weighs_tokens: Whether tokens have weights before the forward, which the ledger notes.

        Raises:
            UsageError: The output folder cannot be written, the ledger or a file of the
                checkpoint is damaged, or the checkpoint is of other data.
        """
        self._data = data
        self.counts, self._is_main, self._stores = StepCounts(), is_main, stores
        self.window = MetricWindow()  # auto_find_batch_size begins again after a failed try
        self._marks, self.pass_limits = {}, ()
        if checkpoint is not None:
            self._load(checkpoint)
        self._started = time.perf_counter() - self.counts.total_seconds
        if is_main:
            folder = self._folder / FOLDER
            by_turn = self._settings.get("prune_unit") == "turn"
            schema = ledger_schema(weighs_tokens=weighs_tokens, by_turn=by_turn)
            self._ledger = (
                Ledger.resume(folder, step, schema=schema, **self._marks.get(FOLDER, {}))
                if step
                else Ledger.start(folder, schema=schema)
            )
            path = self._folder / SETTINGS_FILE
            with writing(self._folder):
                if not step:
                    (self._folder / PLANE_FILE).unlink(missing_ok=True)  # of an earlier run
                path.write_text(json.dumps(self._settings, indent=2) + "\n", encoding="utf-8")
        if is_main and probes:
            folder = self._folder / PROBE_FOLDER
            self._probe = (
                Ledger.resume(
                    folder, step, schema=PROBE_SCHEMA, **self._marks.get(PROBE_FOLDER, {})
                )
                if step
                else Ledger.start(folder, 0, schema=PROBE_SCHEMA)
            )

    def add(self, result: StepResult, step: int, epoch: int) -> None:
        """Add a step, counted from 1, of an epoch, counted from 0."""
        self.counts.add(result.counts)
        self.window.add(step_metrics(result))
        if self._ledger is not None:
            names = self._ledger.schema.names
            self._ledger.append(ledger_rows(result.decisions, result.work, step, epoch, names))
        for name in dict.fromkeys(result.decisions.bad):
            logger.warning(
                f"step {step}: the loss of sample {name} is NaN or infinite in scoring; "
                "it is left out"
            )

    def add_probe(self, rows: Sequence[ProbeRow]) -> None:
        """Add the rows of a visit to the probe set."""
        if self._probe is not None:
            self._probe.append(rows)

    def save(self, checkpoint: Path) -> None:
        """Write what a resumed run needs into a checkpoint; the ledger is flushed up to it."""
        if self._ledger is None:
            return
        self._ledger.flush()
        if self._probe is not None:
            self._probe.flush()
        self.counts.total_seconds = time.perf_counter() - self._started
        checkpoint.mkdir(parents=True, exist_ok=True)
        marks = {FOLDER: self._ledger.mark}
        if self._probe is not None:
            marks[PROBE_FOLDER] = self._probe.mark
        state: dict[str, Any] = {**self.counts.state_dict(), _MARKS: marks, _DATA: self._data}
        if any(tokens is not None for tokens in self.pass_limits):
            state[_LIMITS] = list(self.pass_limits)
        (checkpoint / STATE_FILE).write_text(json.dumps(state) + "\n")
        for name, store in self._stores.items():
            store.save(checkpoint / name)

    def _load(self, checkpoint: Path) -> None:
        """Load counts, marks and stores of a checkpoint, with a warning for missing files.

        Raises:
            UsageError: A file is damaged.
        """
        path = checkpoint / STATE_FILE
        if path.is_file():
            data = None
            try:
                state = dict(json.loads(path.read_text(encoding="utf-8")))
                self._marks = dict(state.pop(_MARKS, {}))  # older versions have none
                data = state.pop(_DATA, None)
                self.pass_limits = list(state.pop(_LIMITS, []))
                if not all(isinstance(n, int | None) for n in self.pass_limits):
                    raise TypeError("a size of passes is no number")
                if not all(isinstance(value, int | float) for value in state.values()):
                    raise TypeError("a count is no number")
                self.counts.load_state_dict(state)
            except (OSError, ValueError, TypeError) as error:
                raise UsageError(
                    f"{path} cannot be read ({first_line(error)}): resume from another checkpoint"
                ) from error
            if None not in (data, self._data) and data != self._data:
                raise UsageError(
                    f"{checkpoint} is of other training data (then {data}, now {self._data}), and "
                    "the ledger would hold names of both: resume with the data it began with, or "
                    "train anew into another output_dir"
                )
        else:
            logger.warning(f"{checkpoint} has no {STATE_FILE}; the budget counts from here")
        for name, store in self._stores.items():
            path = checkpoint / name
            if path.is_file():
                store.load(path)
            elif name != MEMORY_FILE:  # most pruners remember nothing
                logger.warning(f"{checkpoint} has no {name}; what it holds is known from here on")

    def end(self, pruning: PruningArguments, args: TrainingArguments) -> None:
        """Write the honest budget, and print it as the training arguments ask for."""
        self.counts.total_seconds = time.perf_counter() - self._started
        if self._is_main:
            if not is_quiet(args):
                print_budget(self.counts, pruning, plain=bool(args.disable_tqdm))
            path = self._folder / BUDGET_FILE
            with writing(self._folder):
                path.write_text(json.dumps(self.counts.state_dict(), indent=2) + "\n")
                describe_run(self._folder / CARD, self._settings, self.counts, again=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within is not counted as time of the run."""
        began = time.perf_counter()
        yield
        self._started += time.perf_counter() - began

    def last_decisions(self, n_rows: int) -> pa.Table:
        """The last rows of the ledger, ``n_rows`` at most; none on other processes."""
        if self._ledger is None:
            return SCHEMA.empty_table()
        self._ledger.flush()
        return read_last(self._folder / FOLDER, n_rows)

    def describe_in(self, card: Path) -> None:
        """Write what was pruned so far into a model card."""
        describe_run(card, self._settings, self.counts)

    def close(self) -> None:
        """Close the ledger and the probe's record, so that all rows are on disk."""
        for ledger in (self._ledger, self._probe):
            if ledger is not None:
                ledger.close()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close the record; an error of the run takes precedence over one of closing."""
        try:
            self.close()
        except UsageError as close_error:
            if error is None:
                raise
            logger.warning(f"the last decisions are lost: {close_error}")
