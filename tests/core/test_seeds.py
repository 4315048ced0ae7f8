"""Seeds by key: the same everywhere, and others for every other key."""

import torch

from qtuning.core.seeds import seed_of, seeded_generator


def test_a_seed_is_the_same_on_every_machine_and_in_every_version():
    """Decisions of finished runs are drawn by these."""
    assert seed_of(42, 3, 0) == 5443469481241868684
    assert 0 <= seed_of("any", "words") < 2**63


def test_every_part_of_a_key_counts():
    keys = [(0,), (1,), (0, 1), (1, 0), (0, "probe"), (0, 1, 2), ("probe",)]
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_a_generator_draws_by_its_key_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    first, again, other = (
        torch.rand(4, generator=seeded_generator(*key)) for key in ((1, "a"), (1, "a"), (2, "a"))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
