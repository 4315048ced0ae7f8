"""Tokenise scored rows again, exactly as for scoring."""

import pyarrow as pa
from datasets import Dataset

from ..errors import UsageError
from ..examples.example import SAMPLE_ID, Example
from ..examples.labels import Labels
from ..examples.prepare import prepared
from ..examples.quiet import quiet
from ..examples.stand_in import stand_in
from ..io.image_rows import IMAGE_COLUMNS
from ..io.models import load_tokenizer
from .origin import Origin, tokenising_of, tokenizer_hashes


def tokenised(rows: pa.Table, origin: Origin) -> list[Example]:
    """Input ids and labels of each row, by TRL's own preparation.

    Args:
        rows: The rows as they were loaded.
        origin: The origin of the scores, which has tokenizer, maximal length and answer tokens.

    Raises:
        UsageError: The tokenizer is not that of the scores, or a row has no answer tokens.
    """
    if any(name in rows.column_names for name in IMAGE_COLUMNS):
        raise UsageError(
            "rows with images are not written as tokens, which have no pictures: use --format "
            "parquet or jsonl with token_ratio 1.0"
        )
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
    model = stand_in(len(tokenizer))
    with (
        quiet(bars=False),  # scoring has shown the warnings
        prepared(
            data,
            model,
            tokenizer,
            tokenising_of(origin),
            where="the scored rows",
            use_cpu=True,
        ) as trainer,
    ):
        labels = Labels(trainer.data_collator)
        examples = [labels.of(example) for example in trainer.train_dataset]
    if len(examples) != rows.num_rows:
        raise UsageError("some kept rows have no answer tokens any more; score again")
    return examples
