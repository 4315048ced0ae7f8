"""Rows made ready by TRL exactly as for training: the one place that tokenises without training."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from ..errors import UsageError
from ..io.formats import to_trl
from ..io.token_ids import check_vocabulary
from ..precision import device_in_use
from .example import has_answers

logger = get_logger(__name__)


@dataclass(frozen=True)
class Tokenising:
    """The options of TRL's that decide on the tokens of a row.

    Attributes:
        max_length: Tokens at which a row is cut; None cuts nothing.
        text_field: TRL's ``dataset_text_field``, the column of plain text.
        assistant_only_loss: Of a conversation only assistant turns are answers.
    """

    max_length: int | None = 1024
    text_field: str = "text"
    assistant_only_loss: bool = False


@contextmanager
def prepared(
    rows: Dataset | IterableDataset,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    how: Tokenising,
    *,
    where: str,
    bf16: bool = False,
    use_cpu: bool = False,
) -> Iterator[SFTTrainer]:
    """A trainer that is not for training: its ``train_dataset`` has the rows as tokens.

    Its collator, device and precision are those that a training run would have.

    Args:
        rows: The rows as loaded.
        model: The model, which goes to the device.
        tokenizer: Its tokenizer.
        how: What decides on the tokens.
        where: What to call the rows in messages.
        bf16: Autocast passes to bfloat16.
        use_cpu: Leave the model on the CPU.

    Raises:
        UsageError: Rows that cannot be trained on, or none with answer tokens.
    """
    chat = tokenizer.chat_template is not None
    known = to_trl(rows, where, chat=chat, text_field=how.text_field)
    check_vocabulary(known, model.get_input_embeddings().num_embeddings, where)
    with tempfile.TemporaryDirectory() as scratch:
        args = SFTConfig(
            output_dir=scratch,
            max_steps=1,
            bf16=bf16,
            # transformers refuses bf16 on the CPU unless it is told that the CPU is meant.
            use_cpu=use_cpu or device_in_use().type == "cpu",
            report_to="none",
            gradient_checkpointing=False,
            disable_tqdm=True,
            max_length=how.max_length,
            dataset_text_field=how.text_field,
            assistant_only_loss=how.assistant_only_loss,
        )
        with preparing():
            trainer = SFTTrainer(model, args, train_dataset=known, processing_class=tokenizer)
        check_answers(trainer, known)
        yield trainer


@contextmanager
def preparing() -> Iterator[None]:
    """What TRL raises when a trainer is made, which tokenises the rows, as errors of the user's.

    Raises:
        UsageError: Options do not fit the data, or the chat template cannot be applied to them.
    """
    try:
        yield
    except UsageError:
        raise
    except (TemplateError, ArithmeticError, TypeError, LookupError) as error:
        raise UsageError(
            "the rows cannot be made ready: chat template, tokenizer and data do not fit together "
            f"({_one_line(error)})"
        ) from error
    except (ValueError, ImportError) as error:  # options that TRL finds not to fit the data
        raise UsageError(_one_line(error)) from error


def check_answers(trainer: Any, before: Any) -> None:
    """Say how many rows TRL has left out, and see that some are left to train on.

    Args:
        trainer: The trainer that has made its ``train_dataset`` ready.
        before: The rows that it was given.

    Raises:
        UsageError: No row has answer tokens.
    """
    rows = trainer.train_dataset
    if not isinstance(rows, Dataset):
        return
    if "seq_lengths" not in rows.column_names and len(rows) < len(before):
        logger.warning(
            f"{len(before) - len(rows):,} of {len(before):,} samples have no answer tokens after "
            "truncation and are left out; max_length may be too small"
        )
    completion_only = vars(trainer.args).get("completion_only_loss") is not False
    if not has_answers(rows, completion_only):
        raise UsageError(
            "no sample has answer tokens after truncation: raise max_length, or check that "
            "the completions are not empty"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
