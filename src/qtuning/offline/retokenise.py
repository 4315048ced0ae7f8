"""Tokenise scored rows again, exactly as for scoring."""

import pyarrow as pa
from datasets import Dataset

from ..errors import UsageError
from ..examples.example import SAMPLE_ID, Example
from ..examples.image_reader import reader_of_images
from ..examples.labels import Labels
from ..examples.pictures import as_stored
from ..examples.prepare import prepared
from ..examples.quiet import quiet
from ..examples.stand_in import stand_in
from ..io.image_rows import has_images, image_rows
from ..io.models import load_tokenizer, read_vocabulary
from ..io.processors import load_processor
from .origin import Origin, tokenising_of, tokenizer_hashes

_WHERE = "the scored rows"


def tokenised(rows: pa.Table, origin: Origin) -> list[Example]:
    """Input ids and labels of each row, by TRL's own preparation.

    Args:
        rows: The rows as they were loaded.
        origin: The origin of the scores, which has tokenizer, maximal length and answer tokens.

    Raises:
        UsageError: The tokenizer is not that of the scores, or a row has no answer tokens.
    """
    tokenizer = load_tokenizer(origin["model_name"], revision=origin["revision"])
    hashes = tokenizer_hashes(tokenizer, tokenising_of(origin))
    if hashes != {name: origin[name] for name in hashes}:
        raise UsageError(
            f"{origin['model_name']}: its tokenizer or chat template is not the one of the scores; "
            "score again"
        )
    data = Dataset(rows.replace_schema_metadata())
    if SAMPLE_ID in data.column_names:
        data = data.remove_columns(SAMPLE_ID)
    data = data.add_column(SAMPLE_ID, list(map(str, range(rows.num_rows))))
    if has_images(data):
        return _with_images(data, origin)
    model = stand_in(len(tokenizer))
    with (
        quiet(bars=False),  # scoring has shown the warnings
        prepared(
            data,
            model,
            tokenizer,
            tokenising_of(origin),
            where=_WHERE,
            use_cpu=True,
        ) as trainer,
    ):
        labels = Labels(trainer.data_collator)
        examples = [labels.of(example) for example in trainer.train_dataset]
    if len(examples) != rows.num_rows:
        raise UsageError("some kept rows have no answer tokens any more; score again")
    return examples


def _with_images(data: Dataset, origin: Origin) -> list[Example]:
    """Input ids and labels of rows with images, by the processor."""
    name, revision = origin["model_name"], origin["revision"]
    rows = as_stored(image_rows(data, _WHERE))
    labels = reader_of_images(
        rows,
        _WHERE,
        load_processor(name, revision=revision),
        read_vocabulary(name, revision=revision),
        tokenising_of(origin),
        told=lambda line: None,  # scoring has told it
    )
    made = (labels.of(row) for row in rows)
    return [{key: one[key] for key in ("input_ids", "labels")} for one in made]
