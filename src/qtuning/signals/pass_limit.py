"""The size of scoring passes that the memory turned out to hold."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass
class PassLimit:
    """The padded tokens that a scoring pass may have; all scorers of a run share one.

    Attributes:
        tokens: The most tokens; None as long as every pass has fitted.
        told: Whether the user knows.
    """

    tokens: int | None = None
    told: bool = False

    def of(self, size: int) -> int:
        """The size of a pass, in padded tokens, that would have ``size`` without a limit."""
        return size if self.tokens is None else min(size, self.tokens)

    def halve(self, tokens: int) -> None:
        """Lower the limit, since a pass of so many padded tokens did not fit."""
        self.tokens = tokens // 2

    def tell(self) -> None:
        """Log the limit, the first time that there is one."""
        if self.tokens is not None and not self.told:
            self.told = True
            logger.warning(
                f"scoring ran out of memory: its passes have at most {self.tokens:,} tokens from "
                "here on, with the same scores up to rounding; a smaller score_batch_size (in "
                "`qtuning score` and `evaluate`: batch_size) begins with such passes"
            )

    def resume(self, limits: Sequence[int | None], rank: int) -> None:
        """Take the limit that a checkpoint has.

        Args:
            limits: The limit of each rank that wrote the checkpoint; empty if it has none.
            rank: This rank.
        """
        known = [tokens for tokens in limits if tokens is not None]
        # Another number of ranks groups other samples, so there is no pass to repeat exactly.
        self.tokens = limits[rank] if rank < len(limits) else min(known, default=None)
        self.told = self.tokens is not None
