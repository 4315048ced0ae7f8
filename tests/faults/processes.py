"""Ranks of a run as processes of their own, forked from one that has everything imported."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

WAIT = 120.0
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.worker"])


def start(n_ranks: int, work: Callable[..., None], *arguments: Any) -> list[Any]:
    """Start ``work(*arguments)`` on so many ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        _context.Process(target=_rank, args=(rank, n_ranks, port, work, arguments), daemon=True)
        for rank in range(n_ranks)
    ]
    for process in ranks:
        process.start()
    return ranks


def end(ranks: list[Any]) -> list[int | None]:
    """Wait for all of them; exit codes, None for one that had to be killed."""
    codes = []
    for process in ranks:
        process.join(WAIT)
        codes.append(process.exitcode)
        if process.exitcode is None:
            process.kill()
            process.join()
    return codes


def _rank(
    rank: int, n_ranks: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    if n_ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_ranks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    work(*arguments)
