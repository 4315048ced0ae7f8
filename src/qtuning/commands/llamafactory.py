"""``qtuning llamafactory train``: LLaMA-Factory's own training, pruned."""

from collections.abc import Sequence

from ..errors import UsageError

_USAGE = """usage: qtuning llamafactory train config.yaml [key=value ...]

LLaMA-Factory's config or flags, with pruning options among them:

  qtuning llamafactory train config.yaml sample_ratio=0.25 token_ratio=0.5

Ours are those of docs/configuration.md (sample_ratio, token_ratio, sample_pruner, ...);
LLaMA-Factory's are listed by `llamafactory-cli train -h`.
"""


def run(argv: Sequence[str]) -> None:
    """Run LLaMA-Factory's training with pruning.

    Raises:
        UsageError: The word after the verb is another than ``train``; LLaMA-Factory is not
            installed; or an option is unusable.
        StoppedError: SIGTERM or Ctrl-C stopped training; a checkpoint is written.
    """
    words = list(argv)
    if not words or {"-h", "--help"} & set(words):
        print(_USAGE, end="")
        return
    if words[0] != "train":
        raise UsageError(
            f"qtuning llamafactory {words[0]}: only train is pruned; for the rest there is "
            "llamafactory-cli"
        )
    from ..integrations.llamafactory import train

    train(words[1:])
