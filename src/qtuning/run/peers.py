"""Find out which rank was lost, when a collective operation fails."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_store

from ..errors import PeerLostError

_FOREIGN = (
    *("gloo", "Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer"),
    *("Broken pipe", "Timed out waiting"),
)
_LONG, _SHORT, _PAUSE = 20.0, 1.0, 0.05


@contextmanager
def lost_peers_named() -> Iterator[None]:
    """Turn a backend's connection error within into an error that names the lost rank.

    Raises:
        PeerLostError: The other ranks cannot be reached, or did not come within ``ddp_timeout``.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_of_peers(error):
            raise
        raise PeerLostError(_lost(), str(error)) from error


def _is_of_peers(error: RuntimeError) -> bool:
    """Whether an error comes from the connection to other ranks."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return False
    return isinstance(error, dist.DistError) or any(name in str(error) for name in _FOREIGN)


def _lost() -> list[int]:
    """The ranks that do not answer.

    The other ranks have lost a peer as well, so each of them calls this function.
    """
    me, ranks = dist.get_rank(), range(dist.get_world_size())
    try:
        store = PrefixStore("qtuning/peers", _get_default_store())
        store.set(f"here {me}", "")
        lost = _wait_for(store, "here", [rank for rank in ranks if rank != me])
        store.set(f"told {me}", "")
        if me == 0:  # this process may host the store, so it waits until all have read it
            _wait_for(store, "told", [rank for rank in ranks if rank not in (me, *lost)])
    except RuntimeError:  # the store is gone, with the process that hosted it
        return [0]
    return lost


def _wait_for(store: Store, what: str, ranks: Sequence[int]) -> list[int]:
    """The ranks that have not reported in time.

    The wait is short once a single rank is missing, since that is the lost one.
    """
    missing, started = list(ranks), time.monotonic()
    while missing:
        missing = [rank for rank in missing if not store.check([f"{what} {rank}"])]
        if time.monotonic() - started > (_LONG if len(missing) > 1 else _SHORT):
            break
        time.sleep(_PAUSE)
    return missing
