"""The command: ``qtuning <verb>``, the same as ``python -m qtuning <verb>``.

Exit codes: 0 success; 2 unusable input or arguments, with one line on stderr; 130 stopped by
Ctrl-C, 143 by SIGTERM; 1 any other error, and what ``inspect --strict`` finds.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from ..errors import PeerLostError, StoppedError, UsageError, print_error

# What each verb does. The module of a verb's name in this package has ``run(arguments)``.
_VERBS = {
    "train": "fine-tune a model on the samples and tokens worth training on",
    "llamafactory": "LLaMA-Factory's own training, pruned: llamafactory train config.yaml",
    "swift": "print the path of the plug-in for ms-swift's external_plugins",
    "inspect": "what a run would be trained on, and what is wrong with it: before it starts",
    "score": "perplexity and entropy of every row of a data set",
    "prune": "decide on scored data, and write what is kept",
    "report": "show scores, a pruned data set or a run in one HTML file",
    "explain": "what a run's ledger tells about its steps and samples",
    "diff": "what two sets of decisions over the same data disagree on",
    "evaluate": "benchmark tasks, held-out NLL and calibration of a model",
    "compare": "run a grid of pruners, and make tables and plots of it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code."""
    # TRL and datasets send usage statistics unless these are set before they are imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: qtuning <verb> [--config FILE.yaml] [--option value ...]\n")
        for verb, what in _VERBS.items():
            print(f"  {verb:12} {what}")
        print("\n`qtuning <verb> --help` lists its options.")
        return 0
    try:
        if arguments[0] not in _VERBS:
            suggestions = get_close_matches(arguments[0], _VERBS, n=1)
            hint = (
                f", did you mean {suggestions[0]}?"
                if suggestions
                else f"; known: {', '.join(_VERBS)}"
            )
            raise UsageError(f"unknown verb {arguments[0]!r}{hint}")
        module = import_module(f".{arguments[0]}", __package__)
        return int(module.run(arguments[1:]) or 0)
    except UsageError as error:
        print_error(error)
        return 2
    except StoppedError as error:
        print_error(error)
        return error.exit_code
    except PeerLostError as error:
        print(f"qtuning: {error}", file=sys.stderr)  # on every rank: the first may be the lost one
        return 1
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
