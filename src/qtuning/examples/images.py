"""Examples of text with images: the adapter through which a step reads and collates them.

A row has text and pictures, and only the processor knows how many tokens a picture becomes. So a
row is collated alone once, and its example has the tokens that came out, image tokens among them,
beside the row. A batch gets its tokens from the examples, and its pixels from the rows.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from accelerate.logging import get_logger
from jinja2 import TemplateError
from torch import Tensor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..io.weights import LOSS_WEIGHT
from .example import PER_LABEL, SAMPLE_ID, TOKEN_COLUMNS, TOKEN_PLACES, Example, per_token
from .labels import Collator, Labels
from .pictures import described, row_name, with_pictures
from .pixels import KeptPixels
from .templates import one_line

logger = get_logger(__name__)

ROW = "qtuning_row"
"""Key of the row that an example with images comes from."""
IMAGE_TOKENS = "qtuning_image_tokens"
"""Key of the number of image tokens of an example."""
_OF_COLLATORS = (ValueError, TypeError, LookupError, OSError, RuntimeError, TemplateError)
"""What processors and templates raise for rows that they are not made for."""
_NOT_COLLATED = {*PER_LABEL, TOKEN_PLACES}


class ImageLabels(Labels):
    """Labels of examples with images, kept intact through the collator of TRL.

    Image tokens never have a label, also where all other tokens of a conversation have one. A row
    whose image tokens do not fit ``max_length`` has no labels, so that it is no candidate.

    Attributes:
        left_out: Why samples are left out, by name.
    """

    leaves_out = True
    is_heavy = True

    def __init__(
        self,
        collator: Collator,
        image_ids: Collection[int],
        vocabulary: int | None = None,
        *,
        padding_id: int = 0,
        drops: bool = False,
        told: Callable[[str], None] = logger.warning,
        kept: KeptPixels | None = None,
    ) -> None:
        """Wrap the trainer's own collator.

        Args:
            collator: The collator, of rows with text and images.
            image_ids: Token ids that stand for parts of images.
            vocabulary: Number of token ids of the model; None leaves ids unchecked.
            padding_id: Token id of padding.
            drops: Whether tokens will be dropped, which none of an answer with images may be.
            told: Called with a line on each sample that is left out.
            kept: Keeps the pixels of rows for their batches; None reads every batch anew.
        """
        super().__init__(collator, vocabulary)
        self._image_ids, self._padding_id, self._drops = frozenset(image_ids), padding_id, drops
        self._told, self._kept = told, kept
        self._whole, self._max_length = collator, None
        if isinstance(collator, DataCollatorForVisionLanguageModeling):
            self._whole = dataclasses.replace(collator, max_length=None)
            self._max_length = collator.max_length
        self.left_out: dict[str, str] = {}

    def of(self, example: Example) -> Example:
        """The row as lists of tokens and labels, image tokens among them, beside the row itself.

        Raises:
            UsageError: A picture is missing or cannot be read, or the collator cannot be applied
                to the row, e.g. for there are more placeholders than images.
        """
        row = {k: v for k, v in example.items() if k not in (SAMPLE_ID, *PER_LABEL)}
        batch = self._collated([example], whole=True)
        own = _positions(batch, 0)
        made: Example = {
            key: value[0][own].tolist() for key, value in _token_tensors(batch).items()
        }
        is_image = [token in self._image_ids for token in made["input_ids"]]
        pairs = list(zip(made["labels"], is_image, strict=True))
        if self._drops and any(image and label != IGNORE_INDEX for label, image in pairs):
            raise UsageError(
                f"{row_name(example)} has an image among the tokens that are trained, and "
                "token_mode drop would take it apart: use token_mode mask"
            )
        if self._kept is not None and any(is_image):
            self._kept.keep(row, _pixels_of(batch))
        made["labels"] = [IGNORE_INDEX if image else label for label, image in pairs]
        made |= {key: example[key] for key in (SAMPLE_ID, LOSS_WEIGHT) if key in example}
        return self._cut({**made, ROW: row, IMAGE_TOKENS: sum(is_image)}, is_image)

    def _cut(self, example: Example, is_image: Sequence[bool]) -> Example:
        """The example within ``max_length``; without labels and pictures if images do not fit."""
        length = self._max_length
        if length is None or len(is_image) <= length:
            return example
        example |= {key: values[:length] for key, values in per_token(example).items()}
        if not any(is_image[length:]):
            return example
        name = str(example.get(SAMPLE_ID, ""))
        if name not in self.left_out:
            self.left_out[name] = (
                f"{sum(is_image[length:])} of its {sum(is_image)} image tokens lie beyond "
                f"max_length {length}"
            )
            self._told(f"sample {name} is left out: {self.left_out[name]}")
        rest = {key: value for key, value in example.items() if key not in (ROW, IMAGE_TOKENS)}
        return {**rest, "labels": [IGNORE_INDEX] * length}

    def collate_as_is(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The batch that the stock trainer would make of rows."""
        return self._collated(examples, whole=False)

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Collate examples that came from ``of``, of which tokens may have been taken out since.

        An example of which all image tokens were taken out is text.

        Raises:
            UsageError: Some image tokens of an example are left, and not all.
        """
        columns = [
            {k: v for k, v in per_token(one).items() if k not in _NOT_COLLATED} for one in examples
        ]
        batch: dict[str, Any] = {}
        shape = len(columns), max(len(one["input_ids"]) for one in columns)
        for key in sorted({key for one in columns for key in one}):
            fill = {"labels": IGNORE_INDEX, "input_ids": self._padding_id}.get(key, 0)
            batch[key] = torch.full(shape, fill)
            for row, one in enumerate(columns):
                if key in one:
                    batch[key][row, : len(one[key])] = torch.tensor(one[key])
        rows = [one[ROW] for one in examples if self._has_images(one)]
        return batch | self._pixels(rows) if rows else batch

    def _pixels(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the processor makes of the pictures of rows, in the order of the rows."""
        if self._kept is None:
            return _pixels_of(self._collated(rows, whole=True))
        joined = self._kept.joined(rows)
        if joined is not None and self._kept.is_sure(rows):
            return dict(joined)
        together = _pixels_of(self._collated(rows, whole=True))
        if joined is not None:
            self._kept.compare(joined, together)
        return together

    def _has_images(self, example: Example) -> bool:
        """Whether an example has all its image tokens; False if it has none.

        Raises:
            UsageError: It has some of them.
        """
        n = sum(token in self._image_ids for token in example["input_ids"])
        if n and n != example.get(IMAGE_TOKENS):
            raise UsageError(
                f"{n} of the {example.get(IMAGE_TOKENS)} image tokens of a sample are left, which "
                "are no image: give prompts and completions, or set assistant_only_loss"
            )
        return n > 0

    def without_images(self, example: Example) -> Example | None:
        """The example without its image tokens; None if it has none.

        Its first token stays what it is, unless it is one of them.
        """
        if not example.get(IMAGE_TOKENS):
            return None
        places = [i for i, t in enumerate(example["input_ids"]) if t not in self._image_ids]
        return example | {key: [v[i] for i in places] for key, v in per_token(example).items()}

    def nothing_to_train_on(self, example: Example) -> Example:
        """Two unlabelled tokens of text, for which no picture is read or sent."""
        values = per_token(example)
        place = next((i for i, t in enumerate(example["input_ids"]) if t not in self._image_ids), 0)
        spare = {key: [column[place]] * 2 for key, column in values.items()}
        return {**spare, "labels": [IGNORE_INDEX] * 2}

    def _collated(self, rows: Sequence[Mapping[str, Any]], *, whole: bool) -> dict[str, Any]:
        """A batch of rows, with or without the tokens beyond ``max_length``.

        Raises:
            UsageError: A picture cannot be read, or the collator cannot be applied to the rows.
        """
        given = [with_pictures(row) for row in rows]
        bare = [{k: v for k, v in one.items() if k not in (SAMPLE_ID, *PER_LABEL)} for one in given]
        try:
            batch: dict[str, Any] = dict((self._whole if whole else self._collator)(bare))
        except _OF_COLLATORS as error:
            if len(rows) > 1:  # the row to blame, if it is one
                for row in rows:
                    self._collated([row], whole=whole)
            raise UsageError(
                f"{row_name(given[0])}: the processor cannot read its text with its "
                f"{described(given[0])}: {one_line(error)}"
            ) from error
        return batch


def _pixels_of(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a batch has beside values for each token."""
    return {key: value for key, value in batch.items() if key not in TOKEN_COLUMNS}


def _positions(batch: Mapping[str, Any], row: int) -> Tensor:
    """Positions of a row's tokens without padding."""
    positions: Tensor = batch["attention_mask"][row].nonzero().squeeze(1)
    return positions


def _token_tensors(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a batch that have a value for each token.

    Raises:
        UsageError: The collator makes a tensor of that shape which is not known to be one.
    """
    shape = batch["input_ids"].shape
    unknown = [
        key
        for key, value in batch.items()
        if isinstance(value, Tensor)
        and value.shape == shape
        and not value.is_floating_point()
        and key not in TOKEN_COLUMNS
    ]
    if unknown:
        raise UsageError(
            f"the processor makes {', '.join(unknown)}, one number a token, which pruning does not "
            "know: please report the model"
        )
    return {key: batch[key] for key in batch if key in TOKEN_COLUMNS}
