"""The bound: what the arithmetic of a pruned run costs, at speeds measured in the same run.

A pruned run must score its candidates (forward) and train on what it keeps (forward and
backward), and each optimizer step costs what it costs::

    bound = scored_tokens / forward_speed + trained_tokens / training_speed + steps * rest

- ``forward_speed``: input tokens per second of a forward without gradients of backbone and head,
  the head at answer positions only, in the precision of training, on the same candidates sorted by
  length in batches of the same size. None of the library's scoring code takes part.
- ``training_speed``: input tokens per second of forward and backward passes of the stock trainer
  on all candidates. Tokens are those of the samples: what it loses on padding slows it down.
- ``rest``: what the stock trainer spends on a step outside forward and backward passes: optimizer,
  gradient clipping, collation.

Since the stock trainer deals samples as they come, padding can make its speed so low that a run
which sorts by length gets below this bound. The **strict bound** takes both speeds in tokens
through the model, padding included, and still needs only the samples' own: nobody pads at all.

With a backward pass twice as dear as a forward pass and nothing else to do this is the plain count
``(scored + 3 trained) / (3 all)``, and with equally long samples ``(1 + 3 r) / 3``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Speeds:
    """What was measured beside a pruned run; see the module's docstring.

    Attributes:
        forward: Input tokens a second, forward only.
        training: Input tokens a second, forward and backward.
        rest: Seconds of an optimizer step outside of forward and backward passes.
    """

    forward: float
    training: float
    rest: float


def bound_seconds(scored_tokens: int, trained_tokens: int, steps: int, speeds: Speeds) -> float:
    """The seconds that scoring, training and optimizer steps need at the given speeds."""
    forward = scored_tokens / speeds.forward
    return forward + trained_tokens / speeds.training + steps * speeds.rest


def token_bound(scored_tokens: int, trained_tokens: int, input_tokens: int) -> float:
    """The plain count, as a share of a full run: ``(scored + 3 trained) / (3 all)``."""
    return (scored_tokens + 3 * trained_tokens) / (3 * input_tokens)
