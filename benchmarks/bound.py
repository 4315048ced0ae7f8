"""The bound: what the arithmetic of a pruned run costs, at speeds measured in the same run.

A pruned run must score its candidates (forward) and train on what it keeps (forward and
backward), and each optimizer step has a fixed cost::

    bound = scored_tokens / forward_speed + trained_tokens / training_speed + steps * rest

- ``forward_speed``: input tokens per second of a forward without gradients of backbone and head,
  the head at answer positions only, in the precision of training, on the same candidates sorted by
  length in batches of the same size. The library's scoring code is not used.
- ``training_speed``: input tokens per second of forward and backward passes of the stock trainer
  on all candidates. Padding is not counted as tokens, so it lowers this speed.
- ``rest``: seconds that the stock trainer spends on a step outside forward and backward passes:
  optimizer, gradient clipping, collation.

The stock trainer does not sort samples by length, so padding can make its speed so low that a run
which sorts by length gets below this bound. The **strict bound** takes both speeds in tokens
through the model, padding included, and needs only the samples' tokens: a run without padding.

If a backward pass costs twice as much as a forward pass and ``rest`` is 0, this is the plain count
``(scored + 3 trained) / (3 all)``, and with equally long samples ``(1 + 3 r) / 3``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Speeds:
    """Speeds measured in the same repeat as a pruned run; see the module's docstring.

    Attributes:
        forward: Input tokens a second, forward only.
        training: Input tokens a second, forward and backward.
        rest: Seconds of an optimizer step outside of forward and backward passes.
    """

    forward: float
    training: float
    rest: float


def bound_seconds(scored_tokens: int, trained_tokens: int, steps: int, speeds: Speeds) -> float:
    """Compute the seconds that scoring, training and optimizer steps need at the speeds given."""
    forward = scored_tokens / speeds.forward
    return forward + trained_tokens / speeds.training + steps * speeds.rest


def token_bound(scored_tokens: int, trained_tokens: int, input_tokens: int) -> float:
    """Compute the plain count, as a share of a full run: ``(scored + 3 trained) / (3 all)``."""
    return (scored_tokens + 3 * trained_tokens) / (3 * input_tokens)
