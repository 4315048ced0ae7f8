"""A few of the kills of `make faults`."""

import pytest

from .series import survive


@pytest.mark.parametrize(("kind", "n_ranks"), [("q-tuning", 1), ("infobatch", 2)])
def test_a_killed_run_ends_as_the_undisturbed_one(tmp_path, kind, n_ranks) -> None:
    assert survive(tmp_path, kind, n_ranks, kills=3, seed=1)["kills"] == 3
