"""Start one process a device, as LLaMA-Factory's own launcher does, on our entry."""

import sys
from collections.abc import Mapping, Sequence

from .llamafactory_options import is_on

LOCAL_RANK = "LOCAL_RANK"


def is_wanted(environment: Mapping[str, str], n_devices: int) -> bool:
    """Whether to start processes: none was started yet, and there are several devices.

    Args:
        environment: The environment variables; ``FORCE_TORCHRUN`` is LLaMA-Factory's.
        n_devices: Devices of this machine.
    """
    if LOCAL_RANK in environment:
        return False
    return is_on(environment, "FORCE_TORCHRUN") or (
        n_devices > 1 and not is_on(environment, "USE_KT")
    )


def command(
    environment: Mapping[str, str], n_devices: int, free_port: int, words: Sequence[str]
) -> list[str]:
    """The command that starts the processes; its variables are those of LLaMA-Factory's launcher.

    Args:
        environment: The environment variables: ``NNODES``, ``NODE_RANK``, ``NPROC_PER_NODE``,
            ``MASTER_ADDR``, ``MASTER_PORT``, ``MAX_RESTARTS``, and for an elastic start
            ``RDZV_ID``, ``MIN_NNODES``, ``MAX_NNODES``.
        n_devices: Devices of this machine.
        free_port: A port that is free.
        words: The words after ``qtuning``.
    """
    n_nodes = environment.get("NNODES", "1")
    address = environment.get("MASTER_ADDR", "127.0.0.1")
    port = environment.get("MASTER_PORT", str(free_port))
    options = {
        "nnodes": n_nodes,
        "nproc-per-node": environment.get("NPROC_PER_NODE", str(max(1, n_devices))),
    }
    if "RDZV_ID" in environment:
        least, most = (environment.get(name) for name in ("MIN_NNODES", "MAX_NNODES"))
        options |= {
            "nnodes": n_nodes if least is None or most is None else f"{least}:{most}",
            "rdzv-id": environment["RDZV_ID"],
            "rdzv-backend": "c10d",
            "rdzv-endpoint": f"{address}:{port}",
            "max-restarts": environment.get("MAX_RESTARTS", "0"),
        }
    else:
        options |= {
            "node-rank": environment.get("NODE_RANK", "0"),
            "master-addr": address,
            "master-port": port,
        }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "torch.distributed.run", *flags, "--module", "qtuning", *words]
