"""The global random states, left as they were found."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put Python's, NumPy's and torch's random states back in the end.

    A ``Trainer`` seeds all of them when it is made. That is right for a run, and wrong for a call
    in the middle of a user's program.
    """
    devices = list(range(torch.cuda.device_count()))
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is only kept
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
