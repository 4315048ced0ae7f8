"""Where a run stands when a pruner decides: step, seed and progress."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Moment:
    """Where a run stands when it decides on the candidates of a step.

    Attributes:
        step: The optimizer step about to be taken, counted from 1.
        seed: The run's seed.
        progress: Share of the training steps done, in [0, 1).
        memory: What the sample pruner remembers, see ``SamplePool``.
    """

    step: int
    seed: int
    progress: float = 0.0
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
