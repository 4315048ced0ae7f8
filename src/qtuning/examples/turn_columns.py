"""TRL's trainer with turns as units: rows that it has made tokens of have a mark for each token."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..arguments import PruningArguments
from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..io.formats import columns_of
from .example import TURN
from .spans import SpanError, turn_spans
from .templates import messages_of
from .token_weights import as_trl_reads, labels_by_trl
from .turns import ANSWER, NO_TURN, WHOLE, kind_of, mark
from .weighing import WeighedTrainer, WeighingMixin, tokenizer_of, uncut

logger = get_logger(__name__)

_WHY = "qtuning_turn_why"
"""Column that says why the turns of a row cannot be told apart; empty where they can."""
_UNTRAINED = "qtuning_turns_untrained"
"""Column with the number of a row's turns without a label."""


class TurnsMixin(WeighingMixin):
    """Marks the turns of prepared training rows; acts in an ``SFTTrainer`` alone."""

    pruning: Any = None

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Any:
        """Prepare rows as TRL does; with ``prune_unit`` turn those of conversations have ``TURN``.

        Turns are found in whole rows, so TRL first makes tokens of these, then cuts them.

        Raises:
            UsageError: More than the assistant's turns is trained, or of no conversation the turns
                can be told apart.
        """
        prepare = super()._prepare_dataset
        pruning = args if self.pruning is None else self.pruning
        by_turn = dataset_name == "train" and vars(pruning).get("prune_unit") == "turn"
        if not by_turn or packing or "input_ids" in columns_of(dataset):
            return prepare(dataset, processing_class, args, packing, formatting_func, dataset_name)
        rows = prepare(dataset, processing_class, uncut(args), False, formatting_func, dataset_name)
        marks = TurnMarks(
            where=f"the {dataset_name} data",
            tokenizer=tokenizer_of(processing_class),
            template=self._template(processing_class),
            completion_only=vars(args).get("completion_only_loss") is not False,
            assistant_only=bool(vars(args).get("assistant_only_loss")),
            tells=isinstance(rows, Dataset),
        )
        rows = with_turns(rows, marks, args.dataset_num_proc)
        cut = copy.copy(args)
        vars(cut).update(use_liger_kernel=False)
        rows = prepare(rows, processing_class, cut, False, None, dataset_name)
        return rows.map(CutMarks(vars(args).get("truncation_mode") == "keep_end"))


class TurnMarkingTrainer(TurnsMixin, WeighedTrainer):
    """TRL's trainer, whose prepared rows have weights and marked turns."""

    pruning = PruningArguments(prune_unit="turn")


def with_turns(rows: Any, marks: "TurnMarks", processes: int | None = None) -> Any:
    """Prepared rows with ``TURN``; the log says which conversations are one unit.

    Args:
        rows: Rows that TRL has made tokens of and not cut.
        marks: Makes the column.
        processes: Number of processes; None for this one alone.

    Raises:
        UsageError: More than the assistant's turns is trained, or of no conversation the turns can
            be told apart.
    """
    if not isinstance(rows, Dataset):
        return rows.map(marks, with_indices=True)
    rows = rows.with_format(None).map(marks, with_indices=True, num_proc=processes)
    why = list(rows[_WHY])
    failing = [place for place, one in enumerate(why) if one]
    several = [place for place, one in enumerate(rows[TURN]) if len({m for m in one if m >= 0}) > 1]
    if failing and not several:
        raise UsageError(
            f"{marks.where}, row {failing[0] + 1}: its turns cannot be told apart, nor those of "
            f"any other row ({why[failing[0]]}): name another template with chat_template_path, or "
            "set prune_unit to sample"
        )
    if failing:
        logger.warning(
            f"{len(failing):,} of {len(rows):,} train conversations are one unit each, since their "
            f"turns cannot be told apart; the first is row {failing[0] + 1}: {why[failing[0]]}"
        )
    untrained = [place for place, n in enumerate(rows[_UNTRAINED]) if n]
    if untrained:
        n_turns = sum(rows[_UNTRAINED])
        logger.warning(
            f"{n_turns:,} turns of the assistant in {len(untrained):,} train conversations have no "
            f"trained token, and are no units; the first is in row {untrained[0] + 1}: the chat "
            "template marks nothing of them, or their weight is 0"
        )
    return rows.remove_columns([_WHY, _UNTRAINED])


@dataclass(frozen=True)
class TurnMarks:
    """Makes ``TURN`` of rows that are tokens, before they are cut.

    Attributes:
        where: The name of the data in messages.
        tokenizer: The tokenizer.
        template: The chat template in force; None if there is none.
        completion_only: Whether ``completion_mask`` is followed where older TRL makes no labels.
        assistant_only: Whether the assistant's turns alone are trained.
        tells: Whether to add the columns that ``with_turns`` counts.
    """

    where: str
    tokenizer: PreTrainedTokenizerBase
    template: str | None
    completion_only: bool = True
    assistant_only: bool = False
    tells: bool = False

    def __call__(self, row: Mapping[str, Any], index: int) -> dict[str, Any]:
        """The column ``TURN``, ``(L,)``, and what is counted.

        Raises:
            UsageError: More than the assistant's turns is trained.
        """
        labels = labels_by_trl(row, self.completion_only)
        try:
            marks, why, n_turns = self._marks(row, labels)
        except ValueError as error:
            raise UsageError(f"{self.where}, row {index + 1}: prune_unit turn: {error}") from error
        if not self.tells:
            return {TURN: marks}
        pairs = zip(marks[1:], labels[1:], strict=True)
        n_trained = len({one for one, label in pairs if label != IGNORE_INDEX})
        untrained = n_turns - n_trained if self.assistant_only and not why else 0
        return {TURN: marks, _WHY: why, _UNTRAINED: untrained}

    def _marks(self, row: Mapping[str, Any], labels: list[int]) -> tuple[list[int], str, int]:
        """The marks of a row, why its turns cannot be told apart, and how many it has.

        Raises:
            ValueError: More than the assistant's turns is trained.
        """
        n = len(labels)
        messages = messages_of(row)
        if messages is None:
            return [mark(0, ANSWER)] * n, "", 1
        if not self.assistant_only and "prompt" not in row:
            raise ValueError(
                "all turns are trained, not the assistant's alone: set assistant_only_loss"
            )
        kinds = [kind_of(one) for one in messages if one.get("role") == "assistant"]
        if not self.assistant_only and len(row["completion"]) == 1:
            return [mark(len(kinds), kinds[-1]) if kinds else NO_TURN] * n, "", 1
        if len(kinds) == 1 and self.assistant_only:
            return [mark(1, kinds[0])] * n, "", 1
        try:
            if self.template is None:
                raise SpanError("there is no chat template")
            spans = turn_spans(as_trl_reads(row), row["input_ids"], self.tokenizer, self.template)
            marks = [NO_TURN] * n
            for number, (span, kind) in enumerate(zip(spans, kinds, strict=True), 1):
                marks[span.start : span.stop] = [mark(number, kind)] * len(span)
            pairs = zip(marks[1:], labels[1:], strict=True)
            is_outside = any(one == NO_TURN and y != IGNORE_INDEX for one, y in pairs)
            if is_outside and self.assistant_only:
                raise SpanError("other tokens are trained than the assistant's")
        except SpanError as error:
            return [mark(0, WHOLE)] * n, str(error), len(kinds)
        if is_outside:
            raise ValueError(
                "tokens of other roles than the assistant are trained: set assistant_only_loss"
            )
        return marks, "", len(kinds)


@dataclass(frozen=True)
class CutMarks:
    """Cuts ``TURN`` as TRL has cut the tokens.

    Attributes:
        keep_end: Whether TRL cuts off the beginning.
    """

    keep_end: bool

    def __call__(self, row: Mapping[str, Any]) -> dict[str, list[int]]:
        """``TURN``, ``(L,)``."""
        marks, n = row[TURN], len(row["input_ids"])
        return {TURN: list(marks[len(marks) - n :] if self.keep_end else marks[:n])}
