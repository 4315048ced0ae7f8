"""A training run for `accelerate launch`: worker.py OUTPUT_DIR SETTINGS_AS_JSON [ROWS]."""

import json
import os
import sys
from pathlib import Path

import torch
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from qtuning.pruners.protocols import SamplePool

from .. import architectures, runs, tiny
from .sharding import shard_on_the_cpu, zero


def first_pool(pool: SamplePool, args: object) -> torch.Tensor:
    """Keep the first pool of a step: the first micro-batch of the first rank."""
    return torch.full((len(pool),), pool.group == 0)


def every_other_pool(pool: SamplePool, args: object) -> torch.Tensor:
    """Keep every other pool of the run, as the pruner remembers it."""
    n = pool.memory.get("pools", torch.zeros(()))
    pool.memory["pools"] = n + 1
    return torch.full((len(pool),), bool(n % 2))


def model(poison: str | None, experts: bool) -> PreTrainedModel:
    """A model without dropout, since ranks draw differently from one process."""
    if experts:
        tokens = {"vocab_size": 100, "eos_token_id": 1, "bos_token_id": None, "pad_token_id": 0}
        return architectures.build("mixtral", router_aux_loss_coef=5.0, **tokens).train()
    return tiny.poisoned(poison) if poison else tiny.llama()


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    made = model(settings.pop("poison", None), settings.pop("experts", False))
    data = tiny.dataset(int(sys.argv[3]))
    if shards := settings.pop("stream_of_shards", None):
        data = data.to_iterable_dataset(num_shards=shards)
    if stage := settings.pop("zero", None):
        settings["deepspeed"] = zero(stage)
    sharded = settings.pop("sharded", False)
    if sharded:
        settings |= shard_on_the_cpu()
    trainer = runs.pruning(folder, data=data, model=made, **settings)
    fetched: list[int] = []
    original = trainer.get_batch_samples

    def counting(*args):
        batches, items = original(*args)
        fetched.append(len(batches))
        return batches, items

    trainer.get_batch_samples = counting
    if sharded:
        assert trainer.accelerator.distributed_type == DistributedType.FSDP
    trainer.train(resume_from_checkpoint=settings.get("resume_from_checkpoint"))
    trainer.save_model()
    if sharded:
        assert all(isinstance(weight, DTensor) for weight in trainer.model.parameters())
    rank = trainer.accelerator.process_index
    (folder / f"rank{rank}.json").write_text(
        json.dumps({"steps": trainer.state.global_step, "micro_batches": fetched})
    )
    # gloo's threads, left to the interpreter's end, abort a process now and then
    trainer.accelerator.end_training()
    if stage:
        os._exit(0)  # so do DeepSpeed's, which nothing ends


if __name__ == "__main__":
    main()
