"""An inspection of rows with images: what their pictures are, before a weight is loaded.

Of all pictures the heads are read, and of some rows the pixels, by the model's processor.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..examples.pictures import UNREADABLE, as_stored, undecoded, unreadable
from ..examples.thumbnails import MOST_PIXELS, frames_of
from ..examples.tokenising import Tokenising
from ..io.formats import Rows
from ..io.image_rows import IMAGE_COLUMNS, image_rows
from .findings import FIRST, ordered
from .image_tokens import (
    READ_ROWS,
    ImageReader,
    ReadRow,
    at_equal_distances,
    image_token_facts,
    most_image_tokens,
)
from .prepare import STREAMED, ModelSource, first_rows
from .result import Finding, Inspection, Level, ShownRow, Table
from .shown import named_rows

_UNSOUND = ("image-missing", "image-unreadable", "placeholders-differ", "image-huge")


@dataclass
class _Seen:
    """What is seen of the pictures, row after row.

    Attributes:
        kinds: Number of pictures by mode and size.
        n_of_row: Number of pictures of each row.
        rows_of: Numbers of the rows, from 1, by the name of what is found in them.
        first: Why the first picture that cannot be read cannot.
    """

    kinds: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    n_of_row: list[int] = field(default_factory=list)
    rows_of: dict[str, list[int]] = field(default_factory=dict)
    first: str = ""

    def look(self, row: Mapping[str, Any]) -> None:
        """Look at the pictures of the next row."""
        number = len(self.n_of_row) + 1
        stored = next((row[name] for name in IMAGE_COLUMNS if name in row), None)
        pictures = stored if isinstance(stored, list) else [stored]
        self.n_of_row.append(len(pictures))
        found = {name for one in pictures if (name := self._of(one)) is not None}
        if not pictures:
            found.add("no-image")
        if _placeholders(row) not in (None, len(pictures)):
            found.add("placeholders-differ")
        for name in found:
            self.rows_of.setdefault(name, []).append(number)

    def _of(self, stored: Any) -> str | None:
        """The name of what is wrong with a picture; None if nothing is."""
        if stored is None or (isinstance(stored, dict) and not any(stored.values())):
            return "image-missing"
        picture = stored
        try:
            if isinstance(stored, dict):
                content = stored.get("bytes")
                picture = Image.open(io.BytesIO(content) if content else stored["path"])
            frames = frames_of(picture)
            self.kinds[picture.mode, picture.width, picture.height] += 1
        except UNREADABLE as error:
            self.first = self.first or unreadable(error)
            return "image-unreadable"
        if picture.width * picture.height > MOST_PIXELS:
            return "image-huge"
        return "image-moves" if frames > 1 else None

    @property
    def unsound(self) -> set[int]:
        """Numbers of the rows that no processor is given: what is wrong with them is known."""
        return {number for name in _UNSOUND for number in self.rows_of.get(name, ())}

    def facts(self) -> dict[str, dict[str, Any]]:
        """Figures of rows and pictures."""
        with_images = [n for n in self.n_of_row if n]
        return {
            "rows": {
                "read": len(self.n_of_row),
                "with images": len(with_images),
                "most images of a row": max(self.n_of_row, default=0),
            },
            "images": {
                "in all": sum(self.n_of_row),
                "readable": self.kinds.total(),
                "most pixels": max((w * h for _, w, h in self.kinds), default=0),
                "fewest pixels": min((w * h for _, w, h in self.kinds), default=0),
            },
        }

    def commonest(self) -> Table:
        """The commonest kinds of pictures."""
        return [
            {"mode": mode, "width": width, "height": height, "images": n}
            for (mode, width, height), n in self.kinds.most_common(FIRST)
        ]

    def findings(self) -> list[Finding]:
        """What is wrong with the pictures."""
        told: tuple[tuple[Level, str, str, str], ...] = (
            (
                "error",
                "image-missing",
                "a null in place of an image",
                "add it, or leave them out",
            ),
            (
                "error",
                "image-unreadable",
                f"an image that cannot be read (the first: {self.first})",
                "mend it, or leave them out",
            ),
            (
                "error",
                "placeholders-differ",
                "more or fewer placeholders than images",
                "give each image one part of type image",
            ),
            (
                "warning",
                "image-huge",
                f"an image of more than {MOST_PIXELS:,} pixels",
                "make it smaller: most processors do, after they have read all of it",
            ),
            (
                "note",
                "image-moves",
                "an image of several frames",
                "its first one is trained on; leave them out if that is not what you mean",
            ),
            ("note", "no-image", "no image", "they are trained as text"),
        )
        return [
            Finding(
                level,
                name,
                len(self.rows_of[name]),
                tuple(self.rows_of[name][:FIRST]),
                f"{len(self.rows_of[name]):,} of {len(self.n_of_row):,} rows: {what}",
                advice,
            )
            for level, name, what, advice in told
            if name in self.rows_of
        ]


@dataclass(frozen=True)
class ImageRows:
    """The rows of an inspection of images, to be shown: those named by findings, then others.

    Attributes:
        names: The name of each row in ledgers.
        numbers: Numbers of the rows to show, from 1.
        findings: Names of the findings that name a row, by its number.
        reader: Reads them.
    """

    names: Sequence[str]
    numbers: Sequence[int]
    findings: Mapping[int, tuple[str, ...]]
    reader: ImageReader

    def of(self, numbers: Iterable[int], most_tokens: int | None = None) -> Iterator[ShownRow]:
        """Some rows, their pictures in words.

        Args:
            numbers: Their numbers, from 1.
            most_tokens: Tokens of a row that are shown at most; None for all.
        """
        return self._shown(numbers, most_tokens, drawn=False)

    def in_order(self, most_tokens: int | None = None) -> Iterator[ShownRow]:
        """All of them with their pictures, each drawn small when it is asked for."""
        return self._shown(self.numbers, most_tokens, drawn=True)

    def _shown(
        self, numbers: Iterable[int], most_tokens: int | None, *, drawn: bool
    ) -> Iterator[ShownRow]:
        for number in numbers:
            findings = self.findings.get(number, ())
            yield self.reader.shown(number, most_tokens, findings, drawn=drawn)


def inspect_images(
    data: Rows,
    where: str,
    source: ModelSource,
    args: Any,
    *,
    is_evaluated: bool = False,
    show: int = 3,
) -> tuple[Inspection, ImageRows]:
    """Look at rows with images: at the heads of all pictures, and at some rows as tokens.

    Args:
        data: The rows as loaded; of a stream the first are read.
        where: Their name in messages.
        source: The model.
        args: The options of the run, TRL's ``SFTConfig``.
        is_evaluated: Whether there are rows for evaluation, which are not compared with these.
        show: How many rows to show as tokens.

    Returns:
        Figures, findings and some rows; and the rows to show on a page.

    Raises:
        UsageError: The columns are not those that TRL reads beside images, or the model takes no
            images.
    """
    rows = as_stored(image_rows(first_rows(undecoded(data), STREAMED), where))
    reader = ImageReader(rows, where, source, args)
    seen = _Seen()
    for row in rows:
        seen.look(row)
    unsound = seen.unsound
    sound = [n for n in range(1, len(rows) + 1) if n not in unsound]
    read = {number: reader.read(number) for number in at_equal_distances(sound, READ_ROWS)}
    findings = ordered([*seen.findings(), *_findings_of_tokens(read), *_not_compared(is_evaluated)])
    longest = Tokenising.of(args).max_length
    facts = {**seen.facts(), "tokens": image_token_facts(read.values(), longest)}
    tables = {
        "commonest images": seen.commonest(),
        "most image tokens": most_image_tokens(read, reader.names, FIRST),
    }
    named = named_rows(findings)
    to_show = ImageRows(
        reader.names, [*sorted(named), *(n for n in read if n not in named)], named, reader
    )
    shown = tuple(to_show.of(sorted(read)[:show]))
    return Inspection(where, source.name, facts, tables, findings, shown), to_show


def _not_compared(is_evaluated: bool) -> list[Finding]:
    """That rows for evaluation are not compared with rows with images."""
    if not is_evaluated:
        return []
    what = "the rows for evaluation are not compared with these, which have images"
    return [Finding("note", "evaluation-not-compared", 0, (), what, "compare them yourself")]


def _findings_of_tokens(read: Mapping[int, ReadRow]) -> list[Finding]:
    """What is wrong with rows that the processor was given."""
    failed = [n for n, one in read.items() if one.failed]
    cut = [n for n, one in read.items() if one.left_out]
    silent = [n for n, one in read.items() if one.ids and not one.left_out and not any(one.trained)]
    told: tuple[tuple[Level, str, list[int], str, str], ...] = (
        (
            "error",
            "not-read",
            failed,
            f"not to be trained on (the first: {read[failed[0]].failed if failed else ''})",
            "mend them, or leave them out",
        ),
        (
            "error",
            "labels-masked",
            silent,
            "no answer token is left to train on",
            "see whether their answers are empty, and raise max_length",
        ),
        (
            "warning",
            "images-cut",
            cut,
            "left out of training, since image tokens lie beyond max_length (the first: "
            f"{read[cut[0]].left_out if cut else ''})",
            "raise max_length, or set it to null",
        ),
    )
    return [
        Finding(
            level,
            name,
            len(numbers),
            tuple(numbers[:FIRST]),
            f"{len(numbers):,} of {len(read):,} rows read: {what}",
            advice,
        )
        for level, name, numbers, what, advice in told
        if numbers
    ]


def _placeholders(row: Mapping[str, Any]) -> int | None:
    """Number of placeholders of a row whose contents are in parts; None for contents of text."""
    turns = row.get("messages") or row.get("prompt")
    contents = [turn.get("content") for turn in turns] if isinstance(turns, list) else []
    if not any(isinstance(content, list) for content in contents):
        return None
    parts = [part for one in contents if isinstance(one, list) for part in one]
    return len([part for part in parts if part.get("type") == "image"])
