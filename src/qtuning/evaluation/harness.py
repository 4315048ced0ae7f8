"""Benchmark tasks of lm-evaluation-harness, run by one call."""

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
"""Versions of the harness's tasks of the paper's benchmarks.

Another version gives other numbers, so ``run_tasks`` logs a warning about it.
"""


@dataclass(frozen=True)
class Score:
    """One metric of one task.

    Attributes:
        task: The task's name.
        version: Version of the task; tasks of different versions have incomparable numbers.
        metric: Name of the metric, for example "acc" or "exact_match".
        filter: How the answer is extracted from the text, for example "strict-match", or "none".
        value: Mean of the metric over the questions.
        stderr: Standard error of ``value``; None if the harness computes none.
        n: Number of questions.
        hits: The metric of each question, in the order of the data; empty without ``with_hits``.
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
        """Return the score as plain data, for JSON."""
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
        tokenizer: The model's tokenizer.
        tasks: Names of lm-evaluation-harness tasks, whose data come from the Hub, and of local
            tasks (``local_gsm8k``, ...), see ``local_tasks``.
        data_dir: Folder in which local tasks find ``<data set>/test.jsonl``.
        limit: Number of questions of each task, from the first on; None for all.
        num_fewshot: Examples in the prompt; None for the task's own number.
        batch_size: Questions in a batch, or "auto".
        apply_chat_template: Whether to put prompts into the tokenizer's chat template.
        with_hits: Whether to keep the metric of each question.

    Returns:
        A score for each metric of each task; empty on all ranks but the first.

    Raises:
        UsageError: lm-evaluation-harness is not installed, a task is unknown, or the data of a
            task are missing.
    """
    harness = _import()
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        manager = _manager(tasks, data_dir, Path(scratch))
        lm = harness.models.huggingface.HFLM(
            pretrained=model, tokenizer=tokenizer, batch_size=batch_size
        )
        try:
            results = harness.simple_evaluate(
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
    if results is None:  # the harness returns results on the first rank only
        return []
    for name, version in results["versions"].items():
        if name in PINNED and version != PINNED[name]:
            logger.warning(
                f"task {name} is version {version} of the installed lm-evaluation-harness, not "
                f"{PINNED[name]}: do not compare its numbers with those of that version"
            )
    return [score for name in results["results"] for score in _scores(name, results)]


def check_tasks(tasks: Sequence[str], data_dir: Path | None) -> None:
    """Check that tasks can be run, before a model is loaded.

    Raises:
        UsageError: lm-evaluation-harness is not installed, a task is unknown, or the data of a
            task are missing.
    """
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        _manager(tasks, data_dir, Path(scratch))


def _manager(tasks: Sequence[str], data_dir: Path | None, folder: Path) -> Any:
    """Return the harness's task manager, with the local tasks as files in ``folder``."""
    harness = _import()
    local = [name for name in tasks if name.startswith(PREFIX)]
    write_local_tasks(local, data_dir, folder)
    # Reading the tasks that the harness ships takes seconds, so only if one of them is needed.
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


def _scores(task: str, results: dict[str, Any]) -> list[Score]:
    values = results["results"][task]
    samples = sorted(results.get("samples", {}).get(task, []), key=lambda sample: sample["doc_id"])
    scores = []
    for key, value in values.items():
        metric, comma, how = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = values.get(f"{metric}_stderr,{how}")
        hits = [float(sample[metric]) for sample in samples if sample.get("filter", how) == how]
        scores.append(
            Score(
                task=task,
                version=str(results["versions"][task]),
                metric=metric,
                filter=how,
                value=float(value),
                stderr=stderr if isinstance(stderr, float) else None,
                n=results["n-samples"][task]["effective"],
                hits=tuple(hits),
            )
        )
    return scores


@contextlib.contextmanager
def _quiet() -> Any:
    """Hide log messages of the harness below the level of errors."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
