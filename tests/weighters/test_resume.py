"""Every weighter goes on after a stop as if there had been none, and on two processes as on one."""

import pytest
import torch
from safetensors.torch import load_file

from qtuning import TOKEN_WEIGHTERS, read_ledger
from qtuning.pruners.protocols import BASE
from qtuning.run.record import REFERENCE_FILE
from qtuning.signals.reference_store import TAIL, ReferenceStore
from qtuning.weighters.protocols import BASE_TAIL, NLL

from .. import runs, tiny
from ..distributed.test_two_processes import DECISIONS, forked
from ..invariants.test_resume import stop_and_resume
from .steps import tokenised


def progress(tokens, args):
    """A weighter of a user's, at the top level of a module, so that checkpoints can hold it."""
    learnt = tokens.base_nll - tokens.nll
    return (learnt + tokens.base_tail).sigmoid() * (1 + tokens.progress)


progress.needs = frozenset({NLL, BASE, BASE_TAIL})
SETTINGS = [
    *({"token_weight": name} for name in TOKEN_WEIGHTERS if name not in ("none", "stm", "prift")),
    {"token_weight": "stm", "stm_threshold": 60.0},
    {"token_weight": "prift", "prift_form": "mass", "sample_pruner": "full"},
    {"token_weight": "prift"},
    {"token_weight": "tests.weighters.test_resume:progress"},
    {"token_weight": progress, "sample_pruner": "full", "token_pruner": "none"},
]


def named(settings) -> str:
    """The settings in words that are the same in every process of the tests."""
    return " ".join(f"{key}={getattr(one, '__name__', one)}" for key, one in settings.items())


@pytest.mark.parametrize("settings", SETTINGS, ids=named)
def test_a_resumed_run_is_the_run_that_was_never_stopped(tmp_path, settings) -> None:
    whole = runs.pruning(tmp_path / "whole", **settings)
    whole.train()
    again = stop_and_resume(tmp_path / "again", 4, every=2, **settings)
    assert runs.same_weights(whole, again)
    assert runs.losses(whole) == runs.losses(again)
    assert read_ledger(tmp_path / "whole").equals(read_ledger(tmp_path / "again"))


def test_what_the_base_has_given_is_in_the_checkpoint(tmp_path) -> None:
    settings = {"token_weight": "prift", "prift_form": "mass", "sample_pruner": "full"}
    runs.pruning(tmp_path, save_strategy="steps", save_steps=6, **settings).train()
    store = ReferenceStore()
    store.load(tmp_path / "checkpoint-6" / REFERENCE_FILE)
    assert len(store) == 24
    row = read_ledger(tmp_path).to_pylist()[0]
    masses = store.of(row["sample_id"], row["n_tokens"], TAIL)
    assert bool(((masses > 0) & (masses <= 1)).all())


def test_users_weights_resume_as_well(tmp_path) -> None:
    data = tokenised(weights=True, n=24)
    settings = {"data": data, "token_weight": "dft"}
    whole = runs.pruning(tmp_path / "whole", **settings)
    whole.train()
    again = stop_and_resume(tmp_path / "again", 4, every=2, **settings)
    assert runs.same_weights(whole, again)
    plain = runs.pruning(tmp_path / "plain", data=tokenised(n=24), token_weight="dft")
    plain.train()
    assert not runs.same_weights(whole, plain)


@pytest.mark.slow
@pytest.mark.cpu("several ranks, which talk over gloo")
def test_every_weighter_trains_on_two_processes_as_on_one(tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    reference = tiny.save_model(tmp_path / "reference", seed=3)
    module = "tests.distributed.every_weighter"
    forked(module, 1, str(one), str(reference), "4")
    forked(module, 2, str(two), str(reference), "2")
    names = sorted(folder.name for folder in one.iterdir())
    assert len(names) >= 10
    for name in names:
        first, second = read_ledger(one / name), read_ledger(two / name)
        assert first.select(DECISIONS).equals(second.select(DECISIONS)), name
        weights = [load_file(folder / name / "model.safetensors") for folder in (one, two)]
        start = tiny.llama().state_dict()
        for part, values in weights[0].items():
            changed = (values - start[part]).abs().max()
            torch.testing.assert_close(
                weights[1][part],
                values,
                rtol=1e-4,
                atol=float(changed) * 1e-3 + 1e-7,
                msg=lambda m, n=name: f"{n}: {m}",
            )
