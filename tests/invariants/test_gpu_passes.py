"""What a run does differently on a GPU, with the GPU's part played by the CPU."""

import json
import logging
from contextlib import nullcontext

import pytest
import torch
from torch.backends import cuda

from qtuning import read_ledger
from qtuning.run.record import STATE_FILE
from qtuning.signals.steady_attention import steady_attention
from qtuning.training import mixin

from .. import runs, tiny

HOLDS = 100
"""Padded tokens of a scoring pass that the memory holds."""


def scarce(trainer) -> list[int]:
    """Give a trainer little memory for scoring; the padded tokens of the passes it tries."""
    tried: list[int] = []

    def before(module, args, kwargs) -> None:
        ids = kwargs["input_ids"]
        if torch.is_grad_enabled() or ids.numel() <= 8:  # the check of the head
            return
        tried.append(ids.numel())
        if ids.numel() > HOLDS:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    trainer.model.model.register_forward_pre_hook(before, with_kwargs=True)
    return tried


SAVING = {"save_strategy": "steps", "save_steps": 1, "score_batch_size": 8, "probe_samples": 6}


def trainer_of(folder):
    return runs.pruning(folder, **SAVING, model=tiny.llama(attention_dropout=0.1))


def limits(checkpoint) -> list[int]:
    return json.loads((checkpoint / STATE_FILE).read_text())["pass_limits"]


def test_a_run_short_of_memory_decides_alike_says_it_once_and_resumes_exactly(
    tmp_path, caplog
) -> None:
    ample = trainer_of(tmp_path / "ample")
    ample.train()
    whole = trainer_of(tmp_path / "whole")
    tried = scarce(whole)
    with caplog.at_level(logging.WARNING):
        whole.train()
    failed = [tokens for tokens in tried if tokens > HOLDS]
    assert failed
    assert tried.index(failed[-1]) < 4  # in the first calls of the scorers; then it is known
    assert sum("ran out of memory" in record.message for record in caplog.records) == 1
    kept = [read_ledger(tmp_path / name)["kept"] for name in ("ample", "whole")]
    assert kept[0].equals(kept[1])
    assert "pass_limits" not in json.loads(
        (tmp_path / "ample" / "checkpoint-3" / STATE_FILE).read_text()
    )

    stopped = trainer_of(tmp_path / "again")
    scarce(stopped)
    stopped.add_callback(runs.StopAfter(3))
    with pytest.raises(runs.Stop):
        stopped.train()
    [limit] = limits(tmp_path / "again" / "checkpoint-3")
    assert limit <= HOLDS
    resumed = trainer_of(tmp_path / "again")
    tried = scarce(resumed)
    resumed.train(resume_from_checkpoint=True)
    assert tried
    assert max(tried) <= limit
    assert runs.same_weights(resumed, whole)
    assert read_ledger(tmp_path / "again").equals(read_ledger(tmp_path / "whole"))
    assert limits(tmp_path / "again" / "checkpoint-6") == [limit]


@pytest.mark.parametrize(
    ("settings", "is_pruned"),
    [
        ({}, True),
        ({"one_pass": True, "pool_scope": "micro"}, True),
        ({"sample_pruner": "random", "token_pruner": "none"}, True),
        ({"sample_ratio": 1.0, "token_ratio": 1.0}, False),
        ({"prune_start": 0.9}, False),
    ],
    ids=str,
)
def test_forward_and_backward_of_pruned_steps_alone_are_steady(
    tmp_path, monkeypatch, settings, is_pruned
) -> None:
    asked: list[str] = []

    def on_cuda(device_type):
        asked.append(device_type)
        return steady_attention("cuda")

    monkeypatch.setattr(mixin, "steady_attention", on_cuda)
    trainer = runs.pruning(tmp_path, max_steps=1, **settings)
    seen: dict[str, set[bool]] = {"forward": set(), "backward": set()}
    layer = trainer.model.model.layers[0]

    def note(when):
        return lambda *_: (
            seen[when].add(cuda.cudnn_sdp_enabled()) if torch.is_grad_enabled() else None
        )

    layer.register_forward_hook(note("forward"))
    layer.register_full_backward_hook(
        lambda *_: seen["backward"].add(cuda.cudnn_sdp_enabled()) and None
    )
    trainer.train()
    assert seen == {"forward": {not is_pruned}, "backward": {not is_pruned}}
    assert set(asked) == ({trainer.args.device.type} if is_pruned else set())
    assert cuda.cudnn_sdp_enabled()


def test_the_context_changes_nothing_on_the_cpu(tmp_path, monkeypatch) -> None:
    with_it = runs.pruning(tmp_path / "with", max_steps=2)
    with_it.train()
    monkeypatch.setattr(mixin, "steady_attention", lambda device_type: nullcontext())
    without = runs.pruning(tmp_path / "without", max_steps=2)
    without.train()
    assert runs.same_weights(with_it, without)
