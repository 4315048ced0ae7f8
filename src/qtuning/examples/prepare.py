"""Rows tokenised by TRL exactly as for training, for commands that do not train."""

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
    """TRL's options that determine the tokens of a row.

    Attributes:
        max_length: Tokens at which a row is cut; None cuts nothing.
        text_field: TRL's ``dataset_text_field``, the column of plain text.
        assistant_only_loss: Whether only the assistant turns of a conversation are answers.
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
    """A trainer that only prepares rows: its ``train_dataset`` has the rows as tokens.

    Collator, device and precision are those of a training run.

    Args:
        rows: The rows as loaded.
        model: The model, which is moved to the device.
        tokenizer: The model's tokenizer.
        how: TRL's options that determine the tokens.
        where: Name of the rows in messages.
        bf16: Autocast passes to bfloat16.
        use_cpu: Leave the model on the CPU.

    Raises:
        UsageError: Rows cannot be trained on, or no row has answer tokens.
    """
    chat = tokenizer.chat_template is not None
    trl_rows = to_trl(rows, where, chat=chat, text_field=how.text_field)
    check_vocabulary(trl_rows, model.get_input_embeddings().num_embeddings, where)
    with tempfile.TemporaryDirectory() as scratch:
        args = SFTConfig(
            output_dir=scratch,
            max_steps=1,
            bf16=bf16,
            # transformers refuses bf16 on the CPU unless use_cpu says that the CPU is meant.
            use_cpu=use_cpu or device_in_use().type == "cpu",
            report_to="none",
            gradient_checkpointing=False,
            disable_tqdm=True,
            max_length=how.max_length,
            dataset_text_field=how.text_field,
            assistant_only_loss=how.assistant_only_loss,
        )
        with preparing():
            trainer = SFTTrainer(model, args, train_dataset=trl_rows, processing_class=tokenizer)
        check_answers(trainer, trl_rows)
        yield trainer


@contextmanager
def preparing() -> Iterator[None]:
    """Context that turns the errors that TRL raises while it tokenises rows into ``UsageError``.

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
    """Log how many rows TRL has left out, and check that the others have answer tokens.

    Args:
        trainer: The trainer, whose ``train_dataset`` is tokenised.
        before: The rows that the trainer was made with.

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
