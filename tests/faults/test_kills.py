"""A few of the kills of `make faults`."""

import pytest

from .. import runs
from .series import survive


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_ranks", "kills"), [("q-tuning", 1, 3), ("infobatch", 2, 2)])
def test_a_killed_run_ends_as_the_undisturbed_one(tmp_path, kind, n_ranks, kills) -> None:
    if n_ranks > 1 and not runs.RESUMES_TOGETHER:
        pytest.skip("this transformers does not resume on the CPU with several processes")
    assert survive(tmp_path, kind, n_ranks, kills, seed=1)["kills"] == kills
