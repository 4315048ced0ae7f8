"""A few of the kills of `make faults`."""

import pytest

from .series import survive


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_ranks", "kills"), [("q-tuning", 1, 3), ("infobatch", 2, 2)])
def test_a_killed_run_ends_as_the_undisturbed_one(tmp_path, kind, n_ranks, kills) -> None:
    assert survive(tmp_path, kind, n_ranks, kills, seed=1)["kills"] == kills
