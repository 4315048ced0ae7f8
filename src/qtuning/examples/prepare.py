"""Rows tokenised by TRL exactly as for training, for commands that do not train."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..io.formats import Rows, columns_of, find_format, to_trl
from ..io.image_rows import has_images, image_rows
from ..io.rows import ALPACA
from ..io.token_ids import check_vocabulary, vocabulary_of
from ..io.weights import LOSS_WEIGHT
from ..precision import device_in_use
from .example import has_answers
from .masked_prompts import TRL_MASKS_OTHERS, is_prompt_of_turns, with_masked_prompts
from .templates import (
    RENDERING,
    Rendered,
    failing_row,
    lost_thoughts,
    one_line,
    prints_calls,
    prints_tools,
    unfit,
)
from .token_weights import check_messages_apart
from .tokenising import Tokenising
from .turn_columns import TurnMarkingTrainer
from .weighing import WeighedTrainer

logger = get_logger(__name__)


def ready_rows(
    rows: Rows,
    where: str,
    tokenizer: PreTrainedTokenizerBase,
    how: Tokenising,
    processes: int | None = None,
) -> Rows:
    """The rows in columns that TRL reads, each of them checked; those of a stream as they come.

    Args:
        rows: The rows as loaded.
        where: The name of the data in messages.
        tokenizer: The tokenizer of the model.
        how: TRL's options that determine the tokens.
        processes: Number of processes that tokenise what TRL does not; None for this one alone.

    Raises:
        UsageError: The format is unknown, a row cannot be trained on, or the chat template cannot
            be read.
    """
    template = how.template(tokenizer)
    ready = to_trl(
        rows,
        where,
        chat=template is not None,
        text_field=how.text_field,
        assistant=how.assistant_only_loss,
        calls=template is None or prints_calls(tokenizer, template),
        lost=frozenset() if template is None else lost_thoughts(tokenizer, template),
    )
    if "tools" in columns_of(ready) and template and not prints_tools(tokenizer, template):
        logger.warning(
            f"{where}: the column tools is lost, since the chat template does not print it: name "
            "another one with chat_template_path"
        )
    if not isinstance(ready, Dataset) and template is not None:
        ready = ready.map(Rendered(where, tokenizer, template), with_indices=True)
    # For answers newer TRL takes a template of its own where this one does not mark them.
    if template is not None and ("generation" in template or not how.assistant_only_loss):
        check_messages_apart(ready, where, tokenizer, template)
    in_processes = {"num_proc": processes} if processes and isinstance(ready, Dataset) else {}
    if TRL_MASKS_OTHERS and template is not None and is_prompt_of_turns(ready):
        only = how.completion_only_loss is not False
        return with_masked_prompts(
            ready, tokenizer, template, completion_only=only, where=where, **in_processes
        )
    is_alpaca = find_format(columns_of(rows), where, how.text_field) == ALPACA
    if is_alpaca and template is None and tokenizer.is_fast:
        ends = how.eos_token or tokenizer.eos_token or ""
        return ready.map(
            _tokens,
            fn_kwargs={
                "tokenizer": tokenizer,
                "ends": ends,
                "completion_only": how.completion_only_loss is not False,
            },
            remove_columns=["prompt", "completion"],
            **in_processes,
        )
    return ready


def _tokens(
    row: Mapping[str, Any],
    *,
    tokenizer: PreTrainedTokenizerBase,
    ends: str,
    completion_only: bool,
) -> dict[str, Any]:
    """The tokens of a prompt that we have put together, and its completion.

    TRL looks for the longest common prefix of the prompt's tokens and the row's. The line ends
    between the two may merge otherwise at the end of a prompt than before an answer, and would then
    be part of the answer.
    """
    prompt, completion = row["prompt"], row["completion"]
    completion += "" if completion.endswith(ends) else ends
    encoded = tokenizer(prompt + completion, return_offsets_mapping=True)
    start = len(prompt) if completion_only else 0
    ids = encoded["input_ids"]
    labels = [
        token if end > start else IGNORE_INDEX
        for token, (_, end) in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    return {"input_ids": ids, "labels": labels}


@contextmanager
def prepared(
    rows: Rows,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    how: Tokenising,
    *,
    where: str,
    bf16: bool = False,
    use_cpu: bool = False,
    processes: int | None = None,
    by_turn: bool = False,
) -> Iterator[SFTTrainer]:
    """A trainer that only prepares rows: its ``train_dataset`` has the rows as tokens.

    Collator, device and precision are those of a training run.

    Args:
        rows: The rows as loaded.
        model: The model, which is moved to the device.
        tokenizer: The model's tokenizer; of rows with images, its processor.
        how: TRL's options that determine the tokens.
        where: Name of the rows in messages.
        bf16: Autocast passes to bfloat16.
        use_cpu: Leave the model on the CPU.
        processes: Number of processes that tokenise; None for this one alone.
        by_turn: Whether the turns of rows are marked, see ``turns``.

    Raises:
        UsageError: Rows cannot be trained on, or no row has answer tokens.
    """
    if has_images(rows):
        trl_rows = image_rows(rows, where)
    else:
        trl_rows = ready_rows(rows, where, tokenizer, how, processes)
    check_vocabulary(trl_rows, vocabulary_of(model), where)
    options = {"bf16": bf16, "use_cpu": use_cpu, "dataset_num_proc": processes}
    kind = TurnMarkingTrainer if by_turn else WeighedTrainer
    with preparer(trl_rows, model, tokenizer, how, where=where, kind=kind, **options) as trainer:
        check_answers(trainer, trainer.train_dataset, trl_rows)
        yield trainer


@contextmanager
def preparer(
    trl_rows: Rows,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    how: Tokenising,
    *,
    where: str,
    kind: type[WeighedTrainer] = WeighedTrainer,
    **options: Any,
) -> Iterator[SFTTrainer]:
    """A trainer that has made tokens of rows, which are not checked; see ``prepared``.

    Args:
        trl_rows: The rows in columns that TRL reads.
        model: The model, which is moved to the device.
        tokenizer: The model's tokenizer.
        how: TRL's options that determine the tokens.
        where: Name of the rows in messages.
        kind: The class of the trainer.
        **options: More options of TRL's ``SFTConfig``.

    Raises:
        UsageError: Options do not fit the data, or the chat template cannot be applied to them.
    """
    # transformers refuses bf16 on the CPU unless use_cpu says that the CPU is meant.
    options["use_cpu"] = options.get("use_cpu", False) or device_in_use().type == "cpu"
    with tempfile.TemporaryDirectory() as scratch:
        args = SFTConfig(
            output_dir=scratch,
            max_steps=1,
            report_to="none",
            gradient_checkpointing=False,
            disable_tqdm=True,
            **{"bf16": False, **options, **how.for_trl()},
        )
        template = None if has_images(trl_rows) else how.template(tokenizer)
        with preparing(trl_rows, where, tokenizer, template):
            trainer = kind(model, args, train_dataset=trl_rows, processing_class=tokenizer)
        yield trainer


@contextmanager
def preparing(
    rows: Rows, where: str, tokenizer: PreTrainedTokenizerBase, template: str | None
) -> Iterator[None]:
    """Context that turns the errors that TRL raises while it tokenises rows into ``UsageError``.

    Args:
        rows: The rows in columns that TRL reads.
        where: The name of the data in messages.
        tokenizer: The tokenizer.
        template: The chat template in force; None if there is none.

    Raises:
        UsageError: Options do not fit the data, or the chat template cannot be applied to them.
    """
    try:
        yield
    except UsageError:
        raise
    except RENDERING as error:
        failing = failing_row(rows, tokenizer, template) if template is not None else None
        place: str = where
        why: Exception = error
        if failing is not None:
            place, why = f"{where}, row {failing[0] + 1}", failing[1]
        raise unfit(place, why) from error
    except (ValueError, ImportError, OSError) as error:  # options that TRL finds not to fit
        raise UsageError(one_line(error)) from error


def check_answers(trainer: Any, rows: Any, before: Any, kind: str = "") -> None:
    """Log how many rows TRL has left out, and check that the others have answer tokens.

    Args:
        trainer: The trainer, which has tokenised the rows.
        rows: The tokenised rows; a stream is not looked at.
        before: The rows that the trainer was made with.
        kind: What the rows are for, in messages, as "evaluation ".

    Raises:
        UsageError: No row has answer tokens, or a row has tokens beyond the model's embeddings.
    """
    if not isinstance(rows, Dataset):
        return
    if "seq_lengths" not in rows.column_names and len(rows) < len(before):
        logger.warning(
            f"{len(before) - len(rows):,} of {len(before):,} {kind}samples have no answer tokens "
            "after truncation and are left out; max_length may be too small"
        )
    completion_only = vars(trainer.args).get("completion_only_loss") is not False
    if not has_answers(rows, completion_only):
        or_weights = " or of weight 0" if LOSS_WEIGHT in rows.column_names else ""
        raise UsageError(
            f"no {kind}sample has answer tokens after truncation: raise max_length, or check that "
            f"the completions are not empty{or_weights}"
        )
    check_vocabulary(rows, vocabulary_of(trainer.model), f"the {kind}samples")
