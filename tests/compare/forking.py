"""``qtuning`` whose cells are forked from it, as it has everything imported."""

import functools
import multiprocessing
import sys
from types import SimpleNamespace

from qtuning.commands.main import main
from qtuning.compare import work

from .. import processes

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    work.subprocess = SimpleNamespace(Popen=functools.partial(processes.Forked, context=fork))
    sys.exit(main(sys.argv[1:]))
