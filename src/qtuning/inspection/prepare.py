"""Rows made ready exactly as for training, with a tiny model in the place of the real one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin, Trainer

from ..examples.end_of_turn import end_of_turn_ids
from ..examples.example import SAMPLE_ID
from ..examples.names import row_names
from ..examples.prepare import preparer, ready_rows
from ..examples.quiet import quiet
from ..examples.stand_in import stand_in
from ..examples.tokenising import Tokenising
from ..io.arrow_rows import table_of
from ..io.formats import Rows, to_trl
from ..io.models import Vocabulary, as_ids, load_causal_lm, load_tokenizer, read_vocabulary
from ..io.processors import load_processor
from ..io.token_ids import vocabulary_of
from .figures import Special
from .tokens import TokenRows

STREAMED = 10_000
"""Rows that are read of a stream."""


@dataclass(frozen=True)
class ModelSource:
    """The model whose tokenizer makes the tokens.

    Attributes:
        name: A folder, a Hub id or a GGUF file.
        revision: Branch, tag or commit on the Hub; None for the main one.
        trust_remote_code: Whether to run code from the Hub.
        load: Whether to load its weights, rather than to believe its config.
    """

    name: str
    revision: str | None = None
    trust_remote_code: bool = False
    load: bool = False

    @property
    def _loading(self) -> dict[str, Any]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer.

        Raises:
            UsageError: It is missing or damaged.
        """
        return load_tokenizer(self.name, **self._loading)

    def processor(self) -> ProcessorMixin:
        """The processor of text and images.

        Raises:
            UsageError: The model has none, or it cannot be loaded.
        """
        return load_processor(self.name, **self._loading)

    def vocabulary(self) -> Vocabulary:
        """The tokens of the model by its config.

        Raises:
            UsageError: The config is missing or damaged.
        """
        return read_vocabulary(self.name, **self._loading)

    def model(self) -> PreTrainedModel:
        """The model, or a tiny one with as many embeddings and the same end tokens.

        Raises:
            UsageError: The model, or its config, is missing or damaged.
        """
        if self.load:
            return load_causal_lm(self.name, dtype="auto", **self._loading)
        vocabulary = self.vocabulary()
        return stand_in(vocabulary.size, vocabulary.ends)


@dataclass(frozen=True)
class Prepared:
    """Rows as TRL has made tokens of them, before they are cut or packed.

    Attributes:
        where: Their name in messages.
        tokens: The rows as tokens, in the order of the data.
        texts: The rows in columns that TRL reads; tokens where the data are.
        text_field: The column of plain text.
        names: The name of each row in ledgers.
        tokenizer: The tokenizer, with the tokens and the template that the options name.
        template: The chat template in force; None if there is none.
        special: Ids that mean something.
        streamed: Whether they are the first rows of a stream.
        seconds: Seconds that it took to make tokens of them.
    """

    where: str
    tokens: TokenRows
    texts: Dataset
    text_field: str
    names: Sequence[str]
    tokenizer: PreTrainedTokenizerBase
    template: str | None
    special: Special
    streamed: bool
    seconds: float

    def name_of(self, token: int) -> str:
        """The text of a token."""
        return str(self.tokenizer.convert_ids_to_tokens(token))


def prepare(rows: Rows, where: str, source: ModelSource, args: Any) -> Prepared:
    """Make tokens of rows as a run with these options does.

    Args:
        rows: The rows as loaded; of a stream the first ones are read.
        where: Their name in messages.
        source: The model.
        args: TRL's ``SFTConfig``.

    Raises:
        UsageError: Rows or model cannot be read, or do not fit together.
    """
    started = time.perf_counter()
    tokenizer, model = source.tokenizer(), source.model()
    how = Tokenising.of(args)
    template = how.template(tokenizer)
    streamed = not isinstance(rows, Dataset)
    data = first_rows(rows, STREAMED)
    processes = vars(args)["dataset_num_proc"]
    ready = ready_rows(data, where, tokenizer, how, processes)
    texts = ready
    if "input_ids" in ready.column_names and "input_ids" not in data.column_names:
        texts = to_trl(data, where, chat=False, text_field=how.text_field)
    # TRL leaves rows out only where it cuts them.
    whole = replace(how, max_length=None)
    options = {"dataset_num_proc": processes, "use_cpu": True}
    with (
        quiet(bars=True),
        preparer(ready, model, tokenizer, whole, where=where, **options) as trainer,
    ):
        processing = trainer.processing_class
        tokens, special = trainer.train_dataset, special_ids(trainer)
        # Newer TRL has templates of its own that mark the answers.
        template = template and (vars(trainer).get("chat_template") or template)
    ids = {name: data[name] for name in (SAMPLE_ID, "id") if name in data.column_names}
    return Prepared(
        where=where,
        tokens=TokenRows(tokens, completion_only=how.completion_only_loss is not False),
        texts=texts,
        text_field=how.text_field,
        names=row_names(ids, range(len(data))),
        tokenizer=processing,
        template=template,
        special=special,
        streamed=streamed,
        seconds=time.perf_counter() - started,
    )


def special_ids(trainer: Trainer) -> Special:
    """The ids of a trainer's model, tokenizer and collator that mean something."""
    model, tokenizer = trainer.model, trainer.processing_class
    stops = set() if tokenizer.eos_token_id is None else {tokenizer.eos_token_id}
    for config in (model.generation_config, model.config.get_text_config()):
        if config is not None:
            stops |= set(as_ids(config.eos_token_id))
    return Special(
        ends=tuple(end_of_turn_ids(model, tokenizer).tolist()),
        stops=frozenset(stops),
        bos=tokenizer.bos_token_id,
        pad=vars(trainer.data_collator).get("pad_token_id"),
        embeddings=vocabulary_of(model),
    )


def first_rows(rows: Rows, number: int) -> Dataset:
    """The rows, or the first ones of a stream."""
    if isinstance(rows, Dataset):
        return rows.with_format(None)
    schema = None if rows.features is None else rows.features.arrow_schema
    return Dataset(table_of(list(islice(rows, number)), schema).replace_schema_metadata())
