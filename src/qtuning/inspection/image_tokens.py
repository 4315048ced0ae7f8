"""Rows with images as the tokens that the model's processor makes of them, as for training.

A processor reads all pixels of a picture to tell its tokens, so it is given some of the rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from datasets import Dataset

from ..core.ratio import share
from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..examples.example import SAMPLE_ID
from ..examples.image_reader import reader_of_images
from ..examples.names import row_names
from ..examples.pieces import Pieces
from ..examples.processors import tokenizer_of
from ..examples.thumbnails import shown_pictures
from ..examples.tokenising import Tokenising
from .prepare import ModelSource
from .result import ShownRow, Table

READ_ROWS = 200
"""Rows that the processor reads; of more rows, so many at equal distances."""


@dataclass(frozen=True)
class ReadRow:
    """What the processor has made of a row.

    Attributes:
        ids: Its token ids within the maximal length, ``(T,)``; empty if it cannot be read.
        trained: Whether each is an answer token, ``(T,)``.
        n_images: How many of them are image tokens.
        left_out: Why the row is left out of training; empty if it is not.
        failed: Why it cannot be read; empty if it can.
    """

    ids: tuple[int, ...] = ()
    trained: tuple[bool, ...] = ()
    n_images: int = 0
    left_out: str = ""
    failed: str = ""


class ImageReader:
    """Reads rows with images by the processor of a model, each row once."""

    def __init__(self, rows: Dataset, where: str, source: ModelSource, args: Any) -> None:
        """Load the processor, no weights.

        Args:
            rows: Rows in columns that TRL reads, pictures as they are stored.
            where: Their name in messages.
            source: The model.
            args: TRL's ``SFTConfig``.

        Raises:
            UsageError: The model takes no images, or options do not fit the data.
        """
        processor, vocabulary = source.processor(), source.vocabulary()
        self._is_image = vocabulary.images
        self._labels = reader_of_images(
            rows, where, processor, vocabulary, Tokenising.of(args), told=lambda line: None
        )
        self._pieces = Pieces(tokenizer_of(processor))
        self._rows = rows
        self._read: dict[int, ReadRow] = {}
        ids = {name: rows[name] for name in (SAMPLE_ID, "id") if name in rows.column_names}
        self.names: Sequence[str] = row_names(ids, range(len(rows)))

    def read(self, number: int) -> ReadRow:
        """A row as tokens; ``number`` is counted from 1."""
        if number not in self._read:
            self._read[number] = self._made(number)
        return self._read[number]

    def _made(self, number: int) -> ReadRow:
        name = self.names[number - 1]
        try:
            example = self._labels.of({**self._rows[number - 1], SAMPLE_ID: name})
        except UsageError as error:
            return ReadRow(failed=str(error))
        labels = example["labels"]
        trained = [label != IGNORE_INDEX for label in labels]
        trained[:1] = [False] * len(trained[:1])  # nothing predicts the first token
        n_images = sum(token in self._is_image for token in example["input_ids"])
        left_out = self._labels.left_out.get(name, "")
        return ReadRow(tuple(example["input_ids"]), tuple(trained), n_images, left_out)

    def shown(
        self, number: int, most_tokens: int | None, findings: tuple[str, ...], *, drawn: bool
    ) -> ShownRow:
        """A row to show.

        Args:
            number: Its number, from 1.
            most_tokens: Tokens and image places that are shown at most; None for all.
            findings: Names of the findings that name the row.
            drawn: Whether its pictures are drawn small as well, or in words alone.
        """
        read = self._read.get(number, ReadRow())
        tokens, trained, widths = self._folded(read)
        shown = slice(0, most_tokens)
        pictures = [
            {key: value for key, value in one.items() if drawn or key != "src"}
            for one in shown_pictures(self._rows[number - 1])
        ]
        return ShownRow(
            row=number,
            sample_id=self.names[number - 1],
            tokens=tuple(tokens[shown]),
            trained=tuple(trained[shown]),
            cut=sum(widths[len(tokens[shown]) :]),
            findings=findings,
            widths=tuple(widths[shown]),
            pictures=tuple(pictures),
        )

    def _folded(self, read: ReadRow) -> tuple[list[str], list[bool], list[int]]:
        """Texts, whether they are trained, and how many tokens each is: image tokens are one."""
        tokens: list[str] = []
        trained: list[bool] = []
        widths: list[int] = []
        places = range(len(read.ids))
        for is_image, run in groupby(places, lambda place: read.ids[place] in self._is_image):
            of = list(run)
            if is_image:
                tokens.append(f"⟨{len(of):,} image tokens⟩")
                trained.append(False)
                widths.append(len(of))
            else:
                tokens += self._pieces([read.ids[place] for place in of])
                trained += [read.trained[place] for place in of]
                widths += [1] * len(of)
        return tokens, trained, widths


def at_equal_distances(numbers: Sequence[int], most: int) -> list[int]:
    """Some of many numbers, the first and the last among them; all if they are not more."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, most).astype(int)]


def image_token_facts(read: Iterable[ReadRow], longest: int | None) -> dict[str, Any]:
    """Tokens of input, images and answer of rows that could be read.

    Args:
        read: The rows.
        longest: Tokens at which a row is cut; None if none is.
    """
    rows = [one for one in read if one.ids]
    facts: dict[str, Any] = {"rows read by the processor": len(rows)}
    if not rows:
        return facts
    counts = {
        "input": [len(one.ids) for one in rows],
        "image": [one.n_images for one in rows],
        "answer": [sum(one.trained) for one in rows],
    }
    for name, values in counts.items():
        facts |= {
            f"{name}, median": float(np.median(values)),
            f"{name}, longest": max(values),
        }
    facts["image share"] = round(share(sum(counts["image"]), sum(counts["input"])), 4)
    facts["trained share"] = round(share(sum(counts["answer"]), sum(counts["input"])), 4)
    facts["maximal length"] = longest
    return facts


def most_image_tokens(read: Mapping[int, ReadRow], names: Sequence[str], most: int) -> Table:
    """The rows with most image tokens.

    Args:
        read: What the processor has made of rows, by their numbers from 1.
        names: The name of each row.
        most: How many rows.
    """
    numbers = sorted((n for n in read if read[n].n_images), key=lambda n: (-read[n].n_images, n))
    return [
        {
            "row": number,
            "sample": names[number - 1],
            "image tokens": read[number].n_images,
            "tokens": len(read[number].ids),
            "answer tokens": sum(read[number].trained),
        }
        for number in numbers[:most]
    ]
