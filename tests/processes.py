"""Processes forked from one that has everything imported: an interpreter started anew takes ten
seconds of processor time to import torch, transformers and TRL.
"""

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

WAIT = 900.0
"""Seconds after which a process hangs: many times what any needs on a busy machine."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.preloaded"])


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


def end(ranks: Sequence[Any]) -> list[int | None]:
    """Wait for all of them; exit codes, None for one that had to be killed."""
    codes = []
    for process in ranks:
        process.join(WAIT)
        codes.append(process.exitcode)
        if process.exitcode is None:
            process.kill()
            process.join()
    return codes


def launch(module: str, n_ranks: int, arguments: Sequence[str], logs: Path) -> None:
    """What ``accelerate launch -m module`` does, in forked ranks.

    Args:
        module: Name of what is run as a main module.
        n_ranks: Number of processes.
        arguments: Its command line.
        logs: Folder for what the ranks say.

    Raises:
        AssertionError: A rank failed; with the end of what all of them said.
    """
    files = [logs / f"rank-{rank}.log" for rank in range(n_ranks)]
    codes = end(start(n_ranks, _logged, list(map(str, files)), module, list(arguments)))
    said = "\n".join(file.read_text(errors="replace")[-3000:] for file in files if file.exists())
    assert codes == [0] * n_ranks, said


def _logged(files: Sequence[str], module: str, arguments: Sequence[str]) -> None:
    _become(["-m", module, *arguments], {}, files[int(os.environ.get("RANK", "0"))])


def _become(words: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Become ``python words``, with what it says in a file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ |= environment
    is_module = words[0] == "-m"
    sys.argv = [*words[is_module:]]
    if is_module:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


def run(command: Sequence[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` for Python; all that it says is its ``stderr``."""
    with tempfile.NamedTemporaryFile(mode="r", errors="replace") as log:
        code = Forked(command, **{**how, "stdout": log}).wait()
        return subprocess.CompletedProcess(command, code, "", log.read())


class Forked:
    """``subprocess.Popen`` for Python, as far as tests need it."""

    def __init__(self, command: Sequence[str], *, context: Any = None, **how: Any) -> None:
        """Start it.

        Args:
            command: An interpreter, a script or "-m" and a module, and its arguments.
            context: Of multiprocessing; "fork" in a process that is itself forked.
            how: ``env`` and ``stdout`` of ``Popen``; ``start_new_session``.
        """
        python, *words = map(str, command)
        assert python == sys.executable
        log = how["stdout"].name if "stdout" in how else os.devnull
        self._process = (context or _context).Process(
            target=_alone,
            args=(words, dict(how.get("env") or {}), log),
            kwargs={"session": how.get("start_new_session", False)},
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = WAIT) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"{self.pid} hangs"
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _alone(words: list[str], environment: dict[str, str], log: str, *, session: bool) -> None:
    if session:
        os.setsid()
    _one_thread()
    _become(words, environment, log)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _rank(
    rank: int, n_ranks: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    _one_thread()
    if n_ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_ranks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    work(*arguments)
