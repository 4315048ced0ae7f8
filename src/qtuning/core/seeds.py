"""Seeds that depend on what they are for, so that no two draws are alike by accident.

A generator seeded with a run's seed alone draws what others draw that are seeded so: accelerate's
sampler of an epoch's rows, or ``shuffle`` of a data set.
"""

from hashlib import blake2b

import torch


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits that depends on the key alone, on any machine and rank.

    Args:
        key: What the seed is for: the run's seed, and a purpose or the place in the run.
    """
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seeded_generator(*key: int | str) -> torch.Generator:
    """A CPU generator with the seed of a key, see ``seed_of``."""
    return torch.Generator().manual_seed(seed_of(*key))
