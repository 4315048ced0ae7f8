"""lm-evaluation-harness behind one call."""

import contextlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate.logging import get_logger
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import UsageError
from ..io.extras import need
from .local_tasks import PREFIX, write_local_tasks

logger = get_logger(__name__)

PINNED = {
    "arc_challenge": 1.0,
    "arc_easy": 1.0,
    "boolq": 2.0,
    "gsm8k": 3.0,
    "openbookqa": 1.0,
    "piqa": 1.0,
    "squadv2": 3.0,
    "triviaqa": 3.0,
}
"""Versions of the harness's tasks that the paper's benchmarks are taken from; another version gives
other numbers, and is said."""


@dataclass(frozen=True)
class Score:
    """One metric of one task.

    Attributes:
        task: The task's name.
        version: Version of the task, which changes when its numbers would.
        metric: For example "acc", "exact_match".
        filter: How the answer was read out of the text, for example "strict-match"; else "none".
        value: The metric's mean over the questions.
        stderr: Its standard error; None where there is none.
        n: Number of questions.
        hits: The metric of each question, in the order of the data; empty if not asked for.
    """

    task: str
    version: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    n: int
    hits: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "hits": list(self.hits)}


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    batch_size: int | str = 8,
    apply_chat_template: bool = False,
    with_hits: bool = False,
) -> list[Score]:
    """Evaluate a model on tasks.

    Args:
        model: The model, on its device; it is put into eval mode.
        tokenizer: Its tokenizer.
        tasks: Names of lm-evaluation-harness's tasks, which come from a hub, and of local ones
            (``local_gsm8k``, ...), see ``local_tasks``.
        data_dir: Where local tasks find ``<data set>/test.jsonl``.
        limit: First so many questions of each task only; None for all.
        num_fewshot: Examples in the prompt; None for the task's own number.
        batch_size: Questions at a time, or "auto".
        apply_chat_template: Put prompts into the tokenizer's chat template.
        with_hits: Keep the metric of each question.

    Raises:
        UsageError: lm-evaluation-harness is not installed, a task is unknown, or its data are not
            there.
    """
    harness = _import()
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        manager = _manager(tasks, data_dir, Path(scratch))
        lm = harness.models.huggingface.HFLM(
            pretrained=model, tokenizer=tokenizer, batch_size=batch_size
        )
        try:
            found = harness.simple_evaluate(
                model=lm,
                tasks=list(tasks),
                task_manager=manager,
                limit=limit,
                num_fewshot=num_fewshot,
                apply_chat_template=apply_chat_template,
                log_samples=with_hits,
            )
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot evaluate {', '.join(tasks)}: {error}") from error
    if found is None:  # another rank than the first
        return []
    for name, version in found["versions"].items():
        if name in PINNED and version != PINNED[name]:
            logger.warning(
                f"task {name} is version {version} of the installed lm-evaluation-harness, not "
                f"{PINNED[name]}: do not compare its numbers with those of that version"
            )
    return [score for name in found["results"] for score in _scores(name, found)]


def check_tasks(tasks: Sequence[str], data_dir: Path | None) -> None:
    """See that tasks can be run, without a model.

    Raises:
        UsageError: As ``run_tasks``.
    """
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        _manager(tasks, data_dir, Path(scratch))


def _manager(tasks: Sequence[str], data_dir: Path | None, folder: Path) -> Any:
    """The harness's task manager, which knows the local tasks from files in ``folder``."""
    harness = _import()
    local = [name for name in tasks if name.startswith(PREFIX)]
    write_local_tasks(local, data_dir, folder)
    # Reading the harness's own tasks takes seconds.
    manager = harness.tasks.TaskManager(
        include_path=str(folder), include_defaults=len(local) < len(tasks)
    )
    unknown = [name for name in tasks if name not in manager.all_tasks]
    if unknown:
        raise UsageError(
            f"unknown task {', '.join(unknown)}; `lm_eval ls tasks` lists those of the harness"
        )
    return manager


def _import() -> Any:
    need("evaluation", "eval", "lm_eval", "lm_eval.models.huggingface", "lm_eval.tasks")
    import lm_eval

    return lm_eval


def _scores(task: str, found: dict[str, Any]) -> list[Score]:
    values = found["results"][task]
    samples = sorted(found.get("samples", {}).get(task, []), key=lambda one: one["doc_id"])
    made = []
    for key, value in values.items():
        metric, comma, how = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = values.get(f"{metric}_stderr,{how}")
        hits = [float(one[metric]) for one in samples if one.get("filter", how) == how]
        made.append(
            Score(
                task=task,
                version=str(found["versions"][task]),
                metric=metric,
                filter=how,
                value=float(value),
                stderr=stderr if isinstance(stderr, float) else None,
                n=found["n-samples"][task]["effective"],
                hits=tuple(hits),
            )
        )
    return made


@contextlib.contextmanager
def _quiet() -> Any:
    """Warnings of the harness only."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
