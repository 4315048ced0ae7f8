import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from qtuning.signals.forward import (
    model_token_stats,
)

from .. import processes
from ..architectures import ARCHITECTURES, build, examples, padded
from .naive_forward import (
    Wrapper,
    assert_same,
    naive,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_wrapped_model_runs_one_forward_with_one_row_of_logits_a_sequence(name: str) -> None:
    model, batch = build(name), padded(examples())
    plain = model_token_stats(model, batch)
    wrapper, shapes = Wrapper(model), []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, a: shapes.append(a[0].shape))
    stats = model_token_stats(model, batch, wrapped=wrapper)
    assert wrapper.forwards == 1
    assert shapes == [(4, 1, 32)]
    assert_same(stats, plain)
    assert not model.base_model._forward_hooks


def test_wrapped_model_that_raises_keeps_no_hook() -> None:
    class Broken(Wrapper):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("out of memory")

    model = build("llama")
    with pytest.raises(RuntimeError, match="out of memory"):
        model_token_stats(model, padded(examples()), wrapped=Broken(model))
    assert not model.base_model._forward_hooks


def _sharded_worker(folder: str) -> None:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    rank = int(os.environ["RANK"])
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    try:
        mesh = init_device_mesh("cpu", (2,))
        batch = padded(examples()[2 * rank : 2 * rank + 2])
        results = {}
        for name in ("llama", "phi"):
            for head_alone in (True, False):
                model = build(name)
                for layer in model.base_model.layers:
                    fully_shard(layer, mesh=mesh)
                head = model.get_output_embeddings()
                if head_alone:  # sharded again once it has run; as a part of the root it is not
                    fully_shard(head, mesh=mesh)
                fully_shard(model, mesh=mesh)
                stats = model_token_stats(model, batch, wrapped=model)
                assert isinstance(head.weight, DTensor) == head_alone
                results[f"{name} {head_alone}"] = tuple(stats)
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_sharded_model_gives_the_same(tmp_path: Path) -> None:
    assert processes.end(processes.start(2, _sharded_worker, str(tmp_path))) == [0, 0]
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        assert len(results) == 4
        batch = padded(examples()[2 * rank : 2 * rank + 2])
        for case, stats in results.items():
            assert_same(stats, naive(build(case.split()[0]), batch))
