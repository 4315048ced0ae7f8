"""A training step with token weights is the naive one, however the batch is laid out."""

import inspect
import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from trl import SFTConfig

from qtuning import PruningArguments, UsageError, explain, read_ledger, report
from qtuning.core.plane import Selection
from qtuning.io.weights import LOSS_WEIGHT
from qtuning.offline.decided import read_decided
from qtuning.offline.prune import check_works_from_scores
from qtuning.pruners.pair import Pruners
from qtuning.pruners.protocols import BASE, SCORES, WEIGHTS
from qtuning.run.ledger import SCHEMA, Ledger, LedgerRow, WideRow, ledger_schema
from qtuning.run.messages import TOKEN_WEIGHT
from qtuning.run.record import BUDGET_FILE
from qtuning.weighters.protocols import BASE_TAIL, ENTROPY, NLL, TOP

from .. import runs, tiny
from .naive import IDS, OPTIONS, rule
from .steps import ALL, change, naive_step, step, tokenised, weight_of

every = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=IDS)
WEIGHTED = ledger_schema(weighs_tokens=True, by_turn=False)
BOTH = [("dft", {}), ("power", {"power_q": 2.0}), ("stm", {"stm_threshold": 20.0})]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("base"), seed=3)


def close(got, expected, rtol=1e-3):
    torch.testing.assert_close(got, expected, rtol=rtol, atol=float(expected.abs().max()) * 1e-3)


@every
@pytest.mark.parametrize("weights", [False, True], ids=["", "with the user's weights"])
def test_a_step_has_the_published_loss_and_its_gradient(tmp_path, base, name, options, weights):
    if name != "none":
        options = {**options, "reference_model_name_or_path": str(base)}
    data = tokenised(weights)
    trainer = step(tmp_path, data=data, token_weight=name, **options)
    args = PruningArguments(token_weight=name, **options)
    loss, expected = naive_step(args, tiny.llama(seed=3), data)
    assert runs.losses(trainer) == pytest.approx([loss], rel=1e-4)
    close(change(trainer), expected)


def test_the_base_is_the_model_before_training(tmp_path):
    """Weights of the second epoch are those of the first, though the model has moved on."""
    seen = []

    def watching(tokens, args):
        seen.append(
            dict(zip(tokens.sample_ids, tokens.base_nll.split(tokens.lengths), strict=True))
        )
        return torch.ones(len(tokens))

    watching.needs = frozenset({BASE})
    settings = {"num_train_epochs": 3, "max_steps": -1, "token_weight": watching}
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    for peft in (None, lora):
        seen.clear()
        trainer = step(tmp_path / str(peft is None), peft=peft, **settings)
        assert len(seen) == 3
        assert len(seen[0]) == 8
        first, last = seen[0], seen[-1]
        assert all(torch.equal(first[name], last[name]) for name in first)
        counts = json.loads((tmp_path / str(peft is None) / BUDGET_FILE).read_text())
        assert counts["scored_tokens"] * 3 == counts["trained_tokens"], "once a sample"
        assert trainer.state.global_step == 3


def test_dft_is_trls_own(tmp_path) -> None:
    if "loss_type" not in inspect.signature(SFTConfig).parameters:
        pytest.skip("this TRL has no dft")
    theirs = runs.stock(tmp_path / "trl", model=tiny.llama(), loss_type="dft")
    theirs.train()
    ours = runs.pruning(tmp_path / "ours", model=tiny.llama(), token_weight="dft", **ALL)
    ours.train()
    assert len(runs.losses(ours)) == 6
    assert runs.losses(ours) == pytest.approx(runs.losses(theirs), rel=1e-5)
    for name, values in theirs.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "scored"),
    [("dft", {}, 0), ("eaft", {}, 0), ("power", {}, 0), ("stm", {"stm_threshold": 60.0}, 1)],
)
def test_nothing_is_scored_that_nobody_reads(tmp_path, name, options, scored) -> None:
    trainer = step(tmp_path, token_weight=name, **options)
    counts = json.loads((tmp_path / BUDGET_FILE).read_text())
    assert counts["scored_tokens"] == scored * counts["input_tokens"]
    assert counts["trained_tokens"] == counts["input_tokens"]
    log = trainer.state.log_history[0]
    assert 0 < log[TOKEN_WEIGHT] <= 1
    assert 0 < log["entropy"] < 4.7, "that of the training forward"


@pytest.mark.parametrize("weights", [False, True], ids=["", "with the user's weights"])
@pytest.mark.parametrize(("name", "options"), BOTH)
@pytest.mark.parametrize(
    "layout",
    [
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        {"padding_free": True, "max_length": None},
        {"gradient_checkpointing": True},
    ],
    ids=["one micro-batch", "four", "padding-free", "checkpointing"],
)
def test_the_gradient_is_the_same_however_the_step_is_laid_out(
    tmp_path, name, options, layout, weights
) -> None:
    made = [
        step(tmp_path / str(i), data=tokenised(weights), token_weight=name, **options, **one)
        for i, one in enumerate(({}, layout))
    ]
    close(change(made[1]), change(made[0]))
    assert runs.losses(made[1]) == pytest.approx(runs.losses(made[0]), rel=1e-5)


@pytest.mark.parametrize(("name", "options"), BOTH)
def test_packed_rows_are_weighed_as_their_samples(tmp_path, name, options) -> None:
    packing = {"packing": True, "max_length": 64, "per_device_train_batch_size": 8}
    packing |= {"gradient_accumulation_steps": 1}
    settings = {"data": tiny.dataset(8), "token_weight": name, **options}
    plain, packed = step(tmp_path / "a", **settings), step(tmp_path / "b", **settings, **packing)
    assert read_ledger(tmp_path / "b").num_rows == 8
    close(change(packed), change(plain))


@pytest.mark.parametrize("mode", ["mask", "drop"])
@pytest.mark.parametrize("padding_free", [False, True])
@pytest.mark.parametrize("name", ["none", "dft"])
def test_a_weight_goes_with_its_token_through_pruning(tmp_path, mode, padding_free, name) -> None:
    trainer = runs.pruning(
        tmp_path,
        model=tiny.llama(),
        data=tokenised(weights=True, n=16),
        token_mode=mode,
        token_weight=name,
        padding_free=padding_free,
        max_length=None,
        protect_eos=False,
    )
    seen = []
    original = trainer.get_batch_samples

    def watching(*args):
        batches, items = original(*args)
        for batch in batches:
            seen.append((batch["labels"][:, 1:], batch[LOSS_WEIGHT][:, 1:], items))
        return batches, items

    trainer.get_batch_samples = watching
    trainer.train()
    assert len(seen) > 4
    for labels, factors, _ in seen:
        kept = labels[labels != -100].tolist()
        values = factors[labels != -100]
        expected = torch.tensor([weight_of(token) for token in kept])
        ratio = values / expected
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-5, atol=0)
    sums = sum(float(factors[labels != -100].sum()) for labels, factors, _ in seen[:2])
    assert sums == pytest.approx(float(seen[0][2]), rel=1e-5), "a mean of 1 over the step"


class Half:
    """Keeps all, the first half of them at thrice the weight."""

    needs = frozenset({WEIGHTS})

    def __call__(self, pool, args):
        weight = torch.ones(len(pool), dtype=torch.float64)
        weight[: len(pool) // 2] = 3.0
        everything = torch.ones(len(pool), dtype=torch.bool)
        return replace(Selection.without_plane(everything), weight=weight)


def test_the_weights_of_samples_tokens_and_methods_are_multiplied(tmp_path) -> None:
    settings = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    together = step(
        tmp_path / "a",
        data=tokenised(weights=True),
        sample_pruner=Half(),
        token_weight="dft",
        **settings,
    )
    names = read_ledger(tmp_path / "a")["sample_id"].to_pylist()
    heavy = set(names[:4])
    plain = step(tmp_path / "b", data=tokenised(weights=True), token_weight="none", **settings)
    at = dict(zip(plain.train_dataset["sample_id"], range(8), strict=True))
    rows = tokenised(weights=True).to_list()
    for name in heavy:
        rows[at[name]]["loss_weight"] = [3 * w for w in rows[at[name]]["loss_weight"]]
    args = PruningArguments(token_weight="dft")
    loss, expected = naive_step(args, tiny.llama(), type(tokenised()).from_list(rows))
    assert runs.losses(together) == pytest.approx([loss], rel=1e-4)
    close(change(together), expected)


class Scored:
    """Keeps the first three quarters, and asks for scores."""

    needs = frozenset({SCORES})

    def __call__(self, pool, args):
        return torch.arange(len(pool)) < 0.75 * len(pool)


@pytest.mark.parametrize("weights", [False, True], ids=["", "with the user's weights"])
@pytest.mark.parametrize("name", ["none", "dft", "eaft", "power"])
def test_one_pass_is_two_passes(tmp_path, name, weights) -> None:
    settings = {"sample_pruner": Scored(), "pool_scope": "micro", "token_weight": name}
    made = [
        step(tmp_path / str(one), one_pass=one, data=tokenised(weights), **settings)
        for one in (False, True)
    ]
    close(change(made[1]), change(made[0]))
    assert sum(runs.losses(made[1])) == pytest.approx(sum(runs.losses(made[0])), rel=1e-4)
    metrics = [one.state.log_history[0].get(TOKEN_WEIGHT) for one in made]
    assert metrics[0] == (None if name == "none" else pytest.approx(metrics[1], rel=1e-5))


def test_an_own_weighter_sees_all_that_it_asks_for(tmp_path) -> None:
    seen = []

    def own(tokens, args):
        seen.append(tokens)
        return tokens.nll.sigmoid() * (-tokens.base_nll).exp() / tokens.entropy

    own.needs = frozenset({NLL, ENTROPY, TOP, BASE, BASE_TAIL})
    trainer = step(tmp_path, token_weight=own, token_pruner="random")
    assert len(seen) == 2
    names = [name for tokens in seen for name in tokens.sample_ids]
    assert sorted(names) == sorted(trainer.train_dataset["sample_id"])
    for tokens in seen:
        n = len(tokens)
        assert n == sum(tokens.lengths)
        assert (tokens.step, tokens.progress) == (1, 0.0)
        assert tokens.top.shape == (n, 20)
        # The model has not been trained yet, so it is its own base.
        torch.testing.assert_close(tokens.base_nll, tokens.nll, rtol=1e-4, atol=1e-4)
        top_p = (tokens.top[:, 0] - tokens.top.logsumexp(-1)).exp()
        assert bool((tokens.base_tail >= (-tokens.nll).exp() - 1e-5).all())
        assert bool((top_p > 0).all())
        assert not tokens.nll.requires_grad
    assert sum(map(len, seen)) == sum(read_ledger(tmp_path)["tokens_kept"].to_pylist())


@pytest.mark.parametrize("name", ["dft", "stm"])
def test_the_loss_of_an_evaluation_stays_the_plain_one(tmp_path, name) -> None:
    losses = []
    for one in ("none", name):
        trainer = runs.pruning(
            tmp_path / one,
            model=tiny.llama(),
            eval_data=tiny.dataset(6, seed=2),
            token_weight=one,
        )
        losses.append(trainer.evaluate()["eval_loss"])
    assert losses[0] == losses[1]


def test_the_start_names_the_weighter(tmp_path, capsys) -> None:
    step(tmp_path / "a", token_weight="power")
    assert "Token weights: power." in capsys.readouterr().out
    step(tmp_path / "b", token_weight=by_length)
    assert "Token weights: by_length." in capsys.readouterr().out
    step(tmp_path / "c")
    assert "Token weights" not in capsys.readouterr().out


def by_length(tokens, args):
    """Weigh the tokens of a sample by its length, for which nothing is read."""
    return torch.cat([torch.full((n,), float(n)) for n in tokens.lengths])


by_length.needs = frozenset()


def test_rows_on_disk_cannot_hold_weights(tmp_path) -> None:
    args = PruningArguments(token_weight="dft", sample_pruner="longest", token_pruner="none")
    with pytest.raises(UsageError, match="token_weight dft weighs the loss of tokens"):
        check_works_from_scores(args, Pruners.of(args))


def test_weights_do_not_stop_where_pruning_does(tmp_path) -> None:
    settings = {"token_weight": "dft", "prune_start": 0.4, "prune_end": 0.7}
    trainer = runs.pruning(tmp_path, model=tiny.llama(), **settings)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [log["pruning/sample_share"] for log in logs] == [1, 1, 1, 0.5, 0.5, 1]
    assert all(log[TOKEN_WEIGHT] < 0.2 for log in logs)


def test_the_ledger_has_the_weights_that_were_known_before_the_forward(tmp_path) -> None:
    step(tmp_path / "late", token_weight="dft")
    assert read_ledger(tmp_path / "late").column_names == SCHEMA.names
    step(tmp_path / "plain")
    assert read_ledger(tmp_path / "plain").schema == SCHEMA
    data = tokenised(weights=True)
    for name, options in (("none", {}), ("stm", {"stm_threshold": 60.0}), ("prift", {})):
        trainer = step(tmp_path / name, data=data, token_weight=name, **options)
        ledger = read_ledger(tmp_path / name)
        assert ledger.column_names == WEIGHTED.names
        means = dict(
            zip(*(ledger[c].to_pylist() for c in ("sample_id", "loss_weight")), strict=True)
        )
        args = PruningArguments(token_weight=name, **options)
        for row, own in zip(data, trainer.train_dataset["sample_id"], strict=True):
            at = (torch.tensor(row["labels"])[1:] != -100).nonzero()[:, 0]
            gold = torch.tensor(row["input_ids"])[at + 1]
            logits = tiny.llama()(torch.tensor(row["input_ids"])[None]).logits[0, at].detach()
            weights, _, _ = rule(name, args, logits, logits, gold)
            user = torch.tensor(row["loss_weight"])[at + 1]
            assert means[own] == pytest.approx(float((user * weights).mean()), rel=1e-4, abs=1e-6)


def test_a_ledger_with_weights_is_read_as_any_other(tmp_path) -> None:
    step(tmp_path / "a", data=tokenised(weights=True), sample_pruner="random")
    step(tmp_path / "b", data=tokenised(), sample_pruner="random")
    columns = [read_decided(tmp_path / one).column_names for one in "ab"]
    assert set(columns[0]) - {"loss_weight"} == set(columns[1])
    assert "tokens_kept" in columns[0]
    for one in "ab":
        told = explain(tmp_path / one)
        assert len(told.step(1).visits) == 8
        assert told.summary()
        report(tmp_path / one, output=tmp_path / f"{one}.html")
        assert (tmp_path / f"{one}.html").is_file()


def test_a_ledger_goes_on_where_weights_begin_or_end(tmp_path) -> None:
    """Chunks of a folder may have the column or not; an older one is read as it is."""
    row = LedgerRow(0, 1, "a", 1.5, 0.5, 3, 1, True, False, 3, True)
    with Ledger.start(tmp_path / "ledger") as plain:
        plain.append([row])
    with Ledger.resume(tmp_path / "ledger", 1, schema=WEIGHTED) as weighted:
        weighted.append(
            [WideRow(row._replace(step=step), {"loss_weight": 0.25}) for step in (2, 3)]
        )
    assert read_ledger(tmp_path)["loss_weight"].to_pylist() == [None, 0.25, 0.25]
    with Ledger.resume(tmp_path / "ledger", 2, schema=SCHEMA) as plain:
        plain.append([row._replace(step=3)])
    assert read_ledger(tmp_path)["loss_weight"].to_pylist() == [None, 0.25, None]
    assert read_ledger(tmp_path).select(SCHEMA.names).schema == SCHEMA
