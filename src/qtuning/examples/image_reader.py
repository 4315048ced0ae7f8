"""Rows with images read by the processor alone, for commands that load no weights."""

from collections.abc import Callable

from transformers import ProcessorMixin

from ..errors import UsageError
from ..io.formats import Rows
from ..io.models import Vocabulary
from .images import ImageLabels
from .prepare import preparer
from .quiet import quiet
from .stand_in import stand_in
from .tokenising import Tokenising


def reader_of_images(
    rows: Rows,
    where: str,
    processor: ProcessorMixin,
    vocabulary: Vocabulary,
    how: Tokenising,
    told: Callable[[str], None],
) -> ImageLabels:
    """What reads rows with images as in training.

    Args:
        rows: Rows in columns that TRL reads.
        where: Their name in messages.
        processor: The processor of the model.
        vocabulary: The tokens of the model, by its config.
        how: TRL's options that determine the tokens.
        told: Called with a line on each sample that is left out.

    Raises:
        UsageError: The model takes no images, or options do not fit the data.
    """
    if not vocabulary.images:
        raise UsageError(
            f"{where}: the config of the model names no image token, and the data have images: "
            "name a vision-language model, or remove the column"
        )
    model = stand_in(vocabulary.size, vocabulary.ends)
    with (
        quiet(bars=True),
        preparer(rows, model, processor, how, where=where, use_cpu=True) as trainer,
    ):
        collator = trainer.data_collator
    return ImageLabels(collator, vocabulary.images, vocabulary.size, told=told)
