"""A job of scoring as plain data, which can be sent to another process."""

import math
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from ..arguments import PruningArguments
from ..errors import UsageError
from ..examples.tokenising import Tokenising
from ..io.formats import Rows
from ..io.models import load_tokenizer
from ..precision import dtype_name
from ..signals.noisy_copies import Noise
from .columns import ScoreColumns
from .origin import DATA_NAME, Origin, origin_of

ROWS = 8
"""Rows of a forward pass on the CPU, unless the user asks for another number."""


def noise_of(copies: int, alpha: float, seed: int, *, alone: bool) -> Noise | None:
    """The noisy copies that options of scoring ask for; None for none.

    Raises:
        UsageError: A value is out of range, or answers are not scored alone.
    """
    if copies < 0:
        raise UsageError(f"--noisy_copies must be at least 0, got {copies}")
    if not 0.0 < alpha < math.inf:
        raise UsageError(f"--noise_alpha must be a number above 0, got {alpha}")
    if copies and not alone:
        raise UsageError("--noisy_copies compares answers with and without prompts: add --alone")
    return Noise(copies, alpha, seed) if copies else None


@dataclass(frozen=True)
class ScoreJob:
    """Model, options and names that a process needs to score data.

    Attributes:
        model: A folder, a Hub id or a GGUF file.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether to run model code from the Hub.
        where: The name of the data in messages.
        per_token: Whether to write token statistics.
        float16: Whether token statistics are float16.
        alone: Whether to score the answers without their prompts as well.
        entropy_over: "all" to write the mean entropy over all positions of a row as well.
        noise: Noisy copies to score as well, with and without their prompts; None for none.
        batch_size: Size of a forward pass, in rows as long as the longest of a part; None for
            ``ROWS``, and on a GPU as many times that as the memory of a training step holds.
        rows_a_part: Number of rows that are sorted by length and written together.
        bf16: Whether to autocast to bfloat16.
        tokenising: The options that decide on the tokens of a row.
        dataset_num_proc: Number of processes that tokenise; None for this process alone.
        weighted: Whether to write users' weights; ``score`` asks the data.
        by_turn: Whether to write the scores of turns.
        without_images: Whether to score the answers without the images of their rows as well.
    """

    model: str
    revision: str | None = None
    trust_remote_code: bool = False
    where: str = "the data"
    per_token: bool = False
    float16: bool = False
    alone: bool = False
    entropy_over: str = PruningArguments.entropy_over
    noise: Noise | None = None
    batch_size: int | None = None
    rows_a_part: int = 2048
    bf16: bool = False
    tokenising: Tokenising = field(default_factory=Tokenising)
    dataset_num_proc: int | None = None
    weighted: bool = False
    by_turn: bool = False
    without_images: bool = False

    @property
    def source(self) -> dict[str, Any]:
        """The arguments for loading model and tokenizer, except their name."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def columns(self) -> ScoreColumns:
        """The columns that scoring writes."""
        return ScoreColumns(
            self.per_token,
            self.float16,
            self.alone,
            entropy_of_all=self.entropy_over == "all",
            noisy=self.noise is not None,
            weighted=self.weighted,
            by_turn=self.by_turn,
            without_images=self.without_images,
        )

    def origin(self, data: Rows) -> Origin:
        """The origin of the scores of ``data``."""
        origin = origin_of(
            self.model,
            self.revision,
            load_tokenizer(self.model, **self.source),
            data._fingerprint if isinstance(data, Dataset) else self.where,
            self.tokenising,
            dtype=dtype_name(self.bf16),
            per_token=self.per_token,
            float16=self.float16,
            alone=self.alone,
            entropy_over=self.entropy_over,
            noise=self.noise,
            by_turn=self.by_turn,
            without_images=self.without_images,
        )
        return {**origin, DATA_NAME: self.where}
