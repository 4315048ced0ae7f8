"""``qtuning swift``: where the plug-in for ms-swift is."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence

_WHAT = """Print the path of the plug-in for ms-swift, for its option external_plugins:

  export QTUNING_CONFIG=pruning.yaml
  swift sft config.yaml --external_plugins "$(qtuning swift)"

pruning.yaml has the options of pruning, such as `sample_ratio: 0.25`."""


def run(argv: Sequence[str]) -> None:
    """Print the path."""
    parser = ArgumentParser(
        prog="qtuning swift", description=_WHAT, formatter_class=RawDescriptionHelpFormatter
    )
    parser.parse_args(list(argv))
    from ..integrations.swift_plugin import PLUGIN

    print(PLUGIN)
