"""``qtuning.evaluate``: the command ``qtuning evaluate`` as a function."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from trl import DatasetMixtureConfig, ScriptArguments

from ..errors import UsageError
from ..examples.prepare import prepared
from ..examples.processors import tokenizer_of
from ..examples.tokenising import Tokenising
from ..io.data import load_rows
from ..io.image_rows import has_images
from ..io.models import load_causal_lm, load_tokenizer
from ..io.processors import load_processor
from ..precision import device_in_use, dtype_name, use_bf16
from .harness import Score, check_tasks, run_tasks
from .held_out import HeldOut, held_out


@dataclass(frozen=True)
class Evaluation:
    """Figures of an evaluated model: held-out answer NLL, calibration, and scores of tasks.

    Attributes:
        model: Name or path of the model.
        precision: Precision of the forward passes, for example "float32".
        held_out: Figures over the held-out rows; None if no rows were passed.
        tasks: A score for each metric of each task.
    """

    model: str
    precision: str
    held_out: HeldOut | None
    tasks: tuple[Score, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain data, for JSON."""
        figures: dict[str, Any] = {"model": self.model, "precision": self.precision}
        if self.held_out is not None:
            figures["held_out"] = self.held_out.to_dict()
        if self.tasks:
            figures["tasks"] = [score.to_dict() for score in self.tasks]
        return figures


def evaluate(
    model: PreTrainedModel | Path | str,
    data: Dataset | IterableDataset | ScriptArguments | Path | str | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin | None = None,
    split: str = "test",
    tasks: Sequence[str] = (),
    data_dir: Path | str | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    batch_size: int | None = None,
    apply_chat_template: bool = False,
    max_length: int = 1024,
    bf16: bool | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Evaluation:
    """Evaluate a model: benchmark tasks, held-out answer NLL in nats, and calibration.

    Examples:
        ```python
        evaluation = qtuning.evaluate("out", "held_out.jsonl", split="train")
        print(evaluation.held_out.nll, evaluation.held_out.stderr)
        ```

    Args:
        model: A folder, a Hub id, a GGUF file, the folder of a PEFT adapter, or a model object.
        data: Held-out rows: a ``datasets`` data set or stream; a file, a folder of
            ``save_to_disk`` or a Hub id. The formats are those of training.
        tokenizer: Tokenizer of a model object, of rows with images its processor; a model that is
            loaded by name brings its own.
        split: Split of data that are loaded by name; may be a slice such as ``test[:300]``.
        tasks: Names of lm-evaluation-harness tasks and of local tasks (``local_gsm8k``, ...).
        data_dir: Folder in which local tasks find ``<data set>/test.jsonl``.
        limit: Number of questions of each task, from the first on; None for all.
        num_fewshot: Examples in the prompt; None for the task's own number.
        batch_size: Questions, or held-out rows, in a batch; None for 8, and on a GPU for as many
            times 8 held-out rows as the memory of a training step on 8 rows holds.
        apply_chat_template: Whether to put prompts of tasks into the tokenizer's chat template.
        max_length: Tokens at which a held-out row is cut.
        bf16: Whether to autocast forward passes to bfloat16; None autocasts where the device
            multiplies bfloat16 natively.
        dtype: Type of the weights; "auto" is the one in which they are stored.
        revision: Branch, tag or commit of the model on the Hub.
        trust_remote_code: Whether to run model code from the Hub.

    Raises:
        UsageError: The model, data, tasks or values are unusable, or neither data nor tasks are
            passed.
    """
    if data is None and not tasks:
        raise UsageError("nothing to evaluate on: name tasks, or held-out rows")
    folder = None if data_dir is None else Path(data_dir)
    if tasks:
        check_tasks(tasks, folder)
    options: Any = {"revision": revision, "trust_remote_code": trust_remote_code}
    if isinstance(model, Path | str):
        if tokenizer is not None:
            raise UsageError("evaluate: a model by name has its own tokenizer: leave tokenizer out")
        name = str(model)
        model = load_causal_lm(name, dtype=dtype, **options)
        tokenizer = load_tokenizer(name, **options)
    else:
        name = str(model.config.name_or_path)
    words = tokenizer_of(tokenizer)
    if words is None:
        raise UsageError("evaluate: a model at hand needs its tokenizer: give one")
    bf16 = use_bf16(bf16)
    held: HeldOut | None = None
    if data is not None:
        rows, where = _rows(data, split)
        how = Tokenising(max_length)
        processing: Any = tokenizer
        if has_images(rows) and not isinstance(processing, ProcessorMixin):
            processing = load_processor(name, **options)
        with prepared(rows, model, processing, how, where=where, bf16=bf16) as trainer:
            held = held_out(trainer, trainer.train_dataset, batch_size=batch_size)
    scores: Sequence[Score] = ()
    if tasks:
        device = device_in_use().type
        precision: AbstractContextManager[Any] = (
            torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()
        )
        with precision:
            scores = run_tasks(
                model,
                words,
                tasks,
                data_dir=folder,
                limit=limit,
                num_fewshot=num_fewshot,
                batch_size=batch_size or 8,
                apply_chat_template=apply_chat_template,
            )
    return Evaluation(name, dtype_name(bf16), held, tuple(scores))


def _rows(data: Any, split: str) -> tuple[Any, str]:
    """Return the held-out rows and their name for messages."""
    if isinstance(data, Path | str):
        data = ScriptArguments(dataset_name=str(data), dataset_test_split=split)
    if isinstance(data, ScriptArguments):
        return load_rows(data, DatasetMixtureConfig(), "test")
    return data, "the held-out rows"
