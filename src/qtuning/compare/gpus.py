"""The GPUs that the cells of a comparison may use."""

import os

import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Return what to set ``CUDA_VISIBLE_DEVICES`` to for one GPU each; empty without GPUs.

    Where the user has set the variable, these are its entries: numbers, or UUIDs of GPUs or of MIG
    instances.
    """
    if not torch.cuda.is_available():
        return []
    n = torch.cuda.device_count()
    chosen = os.environ.get(VISIBLE)
    if chosen is None:
        return [str(number) for number in range(n)]
    entries = [entry.strip() for entry in chosen.split(",")]
    if entries[0].upper().startswith("MIG-"):
        # A process sees one MIG instance only, however many are listed.
        return [entry for entry in entries if entry]
    return entries[:n]  # CUDA ignores what follows an entry that it does not know
