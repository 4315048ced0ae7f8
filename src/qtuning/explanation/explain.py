"""``qtuning.explain``: ask the ledger of a run about its steps and samples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..errors import UsageError
from ..io.paths import path_of
from ..io.row_text import Text
from ..offline.schema import typed_scores
from ..run.ledger import FOLDER, by_unit, read_ledger
from ..run.settings import read_settings
from ..run.train_log import LoggedLoss, read_losses
from .conversation import Conversation, conversation_of
from .history import History
from .losses import losses_of
from .sample import Sample, sample_of
from .spikes import THRESHOLD, Spikes, find_spikes
from .step import Step, step_of
from .summary import Summary, summary_of
from .texts import Texts


@dataclass(frozen=True)
class Explanation:
    """What a run's record tells about its steps and samples, as ``qtuning.explain`` returns it.

    Losses are in nats a token. What the methods return has ``to_dict`` for JSON.

    Attributes:
        folder: The run's output folder.
        history: All visits of the run, as columns.
        logged: The losses in the trainer's log; empty if the run has saved none.
        scorer: Name of the model that made the scores in place of the one that was trained, so that
            perplexities and losses by the ledger are its; None for none.
        texts: Texts of the samples; None without ``rows``.
    """

    folder: Path
    history: History
    logged: Sequence[LoggedLoss]
    scorer: str | None
    texts: Texts | None = None

    def step(self, number: int) -> Step:
        """The candidates of a step, highest perplexity first, with the decisions on them.

        Args:
            number: The step, counted from 1.

        Raises:
            UsageError: The run has no such step.
        """
        return step_of(self.history, number, self.logged, self.texts, str(self.folder))

    def spikes(self, threshold: float = THRESHOLD) -> Spikes:
        """The steps whose loss jumps above that of the steps before, with what they trained on.

        A loss is compared with the median of up to 25 losses before it, in robust standard
        deviations, which the median absolute deviation of the differences of neighbours gives.

        Args:
            threshold: Lowest z-score of a spike.

        Raises:
            UsageError: Neither the log nor the ledger has losses.
        """
        losses = losses_of(self.history, self.logged, own_scores=self.scorer is None)
        return find_spikes(self.history, losses, threshold, self.texts)

    def sample(self, name: str) -> Sample:
        """The visits of a sample, in the order of the steps.

        Args:
            name: The sample's name: its ``sample_id`` or ``id``, else its row number.

        Raises:
            UsageError: The run has no such sample.
        """
        return sample_of(self.history, name, self.texts, str(self.folder))

    def conversation(self, name: str) -> Conversation | None:
        """The turns of a conversation with their visits; None if the run has none of that name.

        Args:
            name: The name of the conversation, which is that of a turn without ``@<turn>``.
        """
        return conversation_of(self.history, name, self.texts, str(self.folder))

    def summary(self) -> Summary:
        """The samples that were never kept, always kept or flipping, by their quadrants."""
        return summary_of(self.history)

    def texts_of(self, names: Sequence[str]) -> list[Text | None]:
        """The texts of some samples, by name; None where there is none, or without ``rows``."""
        if self.texts is None:
            return [None] * len(names)
        places = pc.index_in(pa.array(names, pa.string()), value_set=self.history.names)
        return self.texts.of(places.to_numpy())


def explain(out: Path | str, *, rows: Path | str | Dataset | None = None) -> Explanation:
    """Ask the record of a run about its steps and samples, as ``qtuning explain`` does.

    Examples:
        ```python
        told = qtuning.explain("out", rows="data.jsonl")
        print(told.step(1).visits[0].reason)
        print(told.summary().names("never"))
        ```

    Args:
        out: The run's output folder, or the ledger in it; the run may still go on.
        rows: The data of the run, or their scores, by ``sample_id`` or ``id``, for the texts.

    Returns:
        The record, with the methods ``step``, ``spikes``, ``sample``, ``conversation`` and
        ``summary``.

    Raises:
        UsageError: There is no ledger, it has no rows yet, a file of the run is damaged, or the
            rows are of other data.
    """
    path = path_of(out, "explain")
    folder = path.parent if path.name == FOLDER else path
    ledger = read_ledger(path)
    if not ledger.num_rows:
        raise UsageError(f"the ledger in {folder} has no rows yet: wait for the first steps")
    told = explanation_of(folder, ledger)
    if rows is None:
        return told
    return replace(told, texts=Texts.read(rows, told.history.names))


def explanation_of(folder: Path, ledger: pa.Table) -> Explanation:
    """What the record of a run tells, without texts.

    Args:
        folder: The run's output folder.
        ledger: Its ledger, with at least one row.

    Raises:
        UsageError: The ledger or another file of the run is damaged.
    """
    settings = read_settings(folder) or {}
    scorer = settings.get("scorer_model_name_or_path")
    history = History.of(typed_scores(by_unit(ledger), str(folder)), settings.get("sample_pruner"))
    kept_tokens = history.by_step(history.tokens_kept).astype(np.int64)
    return Explanation(
        folder=folder,
        history=history,
        logged=read_losses(folder, history.steps, kept_tokens),
        scorer=None if scorer is None else str(scorer),
    )
