"""``qtuning llamafactory train``: LLaMA-Factory's own training, pruned."""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

from ..arguments import PruningArguments
from ..errors import UsageError

_USAGE = "qtuning llamafactory train config.yaml [key=value ...]"
_WHAT = """LLaMA-Factory's config or flags, and the options below among them or beside the file:

  qtuning llamafactory train config.yaml sample_ratio=0.25 token_ratio=0.5

LLaMA-Factory's own options are listed by `llamafactory-cli train -h`."""


def run(argv: Sequence[str]) -> None:
    """Run LLaMA-Factory's training with pruning.

    Raises:
        UsageError: The word after the verb is another than ``train``; LLaMA-Factory is not
            installed; or an option is unusable.
        StoppedError: SIGTERM or Ctrl-C stopped training; a checkpoint is written.
    """
    words = list(argv)
    if not words or {"-h", "--help"} & set(words):
        _print_help()
    if words[0] != "train":
        raise UsageError(
            f"qtuning llamafactory {words[0]}: only train is pruned; for the rest there is "
            "llamafactory-cli"
        )
    from ..integrations.llamafactory import train

    train(words[1:])


def _print_help() -> None:
    """Print our options, and leave."""
    from transformers import HfArgumentParser

    parser = HfArgumentParser(
        PruningArguments,
        prog="qtuning llamafactory",
        usage=_USAGE,
        description=_WHAT,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.parse_args(["--help"])
