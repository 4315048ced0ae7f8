"""Turns as units of pruning, in training runs."""

import json
import logging

import pyarrow.compute as pc
import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from qtuning import (
    PruningArguments,
    UsageError,
    keep_tokens,
    read_ledger,
    select_samples,
)
from qtuning.core.ratio import keep_count
from qtuning.examples.example import TURN
from qtuning.run.record import BUDGET_FILE

from .. import runs, tiny, turned
from ..talks import ANY_OBJECTS, answer, user


def by_turn(ledger):
    names = zip(ledger["sample_id"].to_pylist(), ledger["turn"].to_pylist(), strict=True)
    return dict(zip(names, ledger.to_pylist(), strict=True))


def naive_turns(trainer, row):
    """NLL and entropy of each turn's answer tokens under the untrained model, by plain logits."""
    ids, labels = torch.tensor(row["input_ids"]), torch.tensor(turned.labels_of(row))
    with torch.no_grad():
        logits = tiny.llama()(ids[None]).logits[0].double().log_softmax(-1)
    places = (labels[1:] != -100).nonzero()[:, 0] + 1
    marks = torch.tensor(row[TURN])[places] // 16
    nll = -logits[places - 1, ids[places]]
    entropy = -(logits.exp() * logits).sum(-1)[places - 1]
    return {
        int(n): (places[marks == n], nll[marks == n], entropy[marks == n]) for n in marks.unique()
    }


def test_a_step_keeps_the_turns_and_tokens_that_the_mathematics_says(tmp_path) -> None:
    trainer = turned.pruning(
        tmp_path, model=tiny.llama(), max_steps=1, gradient_accumulation_steps=6, learning_rate=0.0
    )
    data = {row["sample_id"]: row for row in trainer.train_dataset}
    trainer.train()
    ledger = read_ledger(tmp_path)
    assert ledger.num_rows == sum(map(turned.turns_of, turned.rows()))
    stats = {
        (name, n): one for name, row in data.items() for n, one in naive_turns(trainer, row).items()
    }
    rows = by_turn(ledger)
    assert rows.keys() == stats.keys()
    order = [(row["sample_id"], row["turn"]) for row in ledger.to_pylist()]
    ppl = torch.stack([stats[unit][1].mean().exp() for unit in order])
    entropy = torch.stack([stats[unit][2].mean() for unit in order])
    assert ledger["ppl"].to_pylist() == pytest.approx(ppl.tolist(), rel=1e-4)
    selection = select_samples(ppl, entropy, 0.5)
    assert ledger["kept"].to_pylist() == selection.kept.tolist()
    assert int(selection.kept.sum()) == keep_count(len(order), 0.5)
    losses = []
    for unit, kept, quadrant in zip(order, selection.kept, selection.quadrant, strict=True):
        if kept:
            _, nll, _ = stats[unit]
            last = torch.arange(len(nll)) == len(nll) - 1  # the token that ends the turn
            keep = keep_tokens(nll.float(), 0.5, protected=last)
            keep = keep if quadrant == 2 else torch.ones_like(keep)
            assert rows[unit]["tokens_kept"] == int(keep.sum())
            losses.append(nll[keep])
    # Conversations end with the last kept token: nothing before it sees what is behind it.
    assert runs.losses(trainer) == pytest.approx([float(torch.cat(losses).mean())], rel=1e-4)


def test_costs_are_those_of_forwards_and_not_of_turns(tmp_path) -> None:
    trainer = turned.pruning(tmp_path)
    lengths = {row["sample_id"]: len(row["input_ids"]) for row in trainer.train_dataset}
    trainer.train()
    counts = json.loads((tmp_path / BUDGET_FILE).read_text())
    ledger = read_ledger(tmp_path)
    assert counts["samples"] == ledger.num_rows > len(lengths)
    assert counts["kept_samples"] == pc.sum(ledger["kept"]).as_py()
    assert counts["input_tokens"] == counts["scored_tokens"] == sum(lengths.values())
    kept = set(ledger.filter(ledger["kept"])["sample_id"].to_pylist())
    assert 0 < counts["trained_tokens"] <= sum(lengths[name] for name in kept)
    logged = max(log.get("num_tokens", 0) for log in trainer.state.log_history)
    assert counts["trained_tokens"] == logged


def test_the_ledger_tells_kinds_of_turns(tmp_path) -> None:
    turned.pruning(tmp_path).train()
    kinds = {unit: row["kind"] for unit, row in by_turn(read_ledger(tmp_path)).items()}
    assert kinds[("c1", 1)] == "call"
    assert kinds[("c1", 2)] == "answer"
    assert kinds[("c2", 2)] == "answer"
    assert kinds[("c2", 3)] == "thoughts+answer"
    assert ("c3", 2) not in kinds


def test_ratios_of_one_train_as_the_stock_trainer_does(tmp_path) -> None:
    settings = {k: v for k, v in turned.SETTINGS.items() if k not in ("sample_ratio", "prune_unit")}
    ours = turned.pruning(tmp_path / "ours", sample_ratio=1.0, token_ratio=1.0)
    ours.train()
    stock = SFTTrainer(
        tiny.llama(attention_dropout=0.1),
        SFTConfig(str(tmp_path / "stock"), **settings),
        train_dataset=Dataset.from_list(turned.rows()),
        processing_class=turned.tokenizer(),
    )
    stock.train()
    assert runs.losses(ours) == runs.losses(stock)
    assert runs.same_weights(ours, stock)
    assert read_ledger(tmp_path / "ours")["turn"].to_pylist().count(1) == 12


def test_one_turn_each_prunes_as_samples_do(tmp_path) -> None:
    """Where each conversation has one turn, it is no matter what the unit is called."""
    data = Dataset.from_list([{"messages": [user(f"{i}"), answer("so" * i)]} for i in range(1, 13)])
    trainers = []
    for unit in ("sample", "turn"):
        trainers.append(turned.pruning(tmp_path / unit, data=data, prune_unit=unit))
        trainers[-1].train()
    assert runs.losses(trainers[0]) == runs.losses(trainers[1])
    assert runs.same_weights(*trainers)


def test_a_bad_turn_drops_its_conversation(tmp_path) -> None:
    trainer = turned.pruning(tmp_path, model=tiny.poisoned("z"), num_train_epochs=1)
    trainer.train()
    ledger = read_ledger(tmp_path)
    bad = {f"c{i}" for i in (2, 6, 10)}  # only their last question has a z
    for row in ledger.to_pylist():
        assert not (row["kept"] and row["sample_id"] in bad)
        assert (row["ppl"] != row["ppl"]) == (row["sample_id"] in bad)
    assert all(torch.isfinite(p).all() for n, p in trainer.model.named_parameters() if "norm" in n)
    assert json.loads((tmp_path / BUDGET_FILE).read_text())["bad_samples"] == 9


def test_packed_conversations_are_pruned_by_turn(tmp_path) -> None:
    trainer = turned.pruning(
        tmp_path, packing=True, max_length=120, model=tiny.llama(), padding_free=False
    )
    trainer.train()
    ledger = by_turn(read_ledger(tmp_path))
    assert {
        (row["id"], n + 1) for row in turned.rows() for n in range(turned.turns_of(row))
    } == set(ledger)
    assert ledger[("c1", 1)]["kind"] == "call"


def test_rows_are_cut_with_their_turns(tmp_path) -> None:
    trainer = turned.pruning(tmp_path, max_length=24)
    for row in trainer.train_dataset:
        assert len(row[TURN]) == len(row["input_ids"]) <= 24
    trainer.train()
    assert read_ledger(tmp_path).num_rows < sum(map(turned.turns_of, turned.rows()))


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("token_mode drop", {"token_mode": "drop"}),
        ("one_pass True", {"one_pass": True, "pool_scope": "micro"}),
        ("entropy_over all", {"entropy_over": "all"}),
        ("s_ifd_noisy True", {"s_ifd_noisy": True}),
        ("initial_scores x.parquet", {"initial_scores": "x.parquet", "score_refresh": 0.0}),
    ],
)
def test_what_turns_exclude_is_refused_in_one_line(option, settings) -> None:
    with pytest.raises(UsageError, match=rf"^{option} does not go with prune_unit turn, .*$"):
        PruningArguments(prune_unit="turn", **settings)


def test_weights_of_messages_and_turns_go_together(tmp_path) -> None:
    data = [
        {
            "id": row["id"],
            "messages": [
                {**message, "weight": 0.5 if i == 1 else 1.0}
                for i, message in enumerate(row["messages"])
            ],
        }
        for row in turned.rows()
    ]
    turned.pruning(tmp_path, data=Dataset.from_list(data), token_pruner="none").train()
    weights = {
        row["turn"]: row["loss_weight"] for row in read_ledger(tmp_path).to_pylist() if row["kept"]
    }
    assert weights == {1: 0.5, 2: 1.0, 3: 1.0}


def test_turns_that_cannot_be_told_apart_are_one_unit_and_are_counted(tmp_path, caplog) -> None:
    plain = [user("a"), answer("b"), user("c"), answer("d")]
    data = [{"prompt": plain[:3], "completion": plain[3:], "id": "one"}]
    data += [{"prompt": plain[:1], "completion": plain[1:], "id": f"many{i}"} for i in range(3)]
    with pytest.raises(UsageError, match=r"row 2: its turns cannot be told apart") as refused:
        turned.pruning(
            tmp_path,
            data=Dataset.from_list(data),
            template=turned.REWRITES,
            assistant_only_loss=False,
        )
    assert "\n" not in str(refused.value)


def test_trained_questions_are_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"row 1: prune_unit turn: all turns .* assistant_only_"):
        turned.pruning(tmp_path, assistant_only_loss=False)


def test_some_conversations_may_be_one_unit(tmp_path, caplog) -> None:
    """Two answers in a row, of which the last one's thoughts are marked by themselves."""
    template = (
        "{% for m in messages %}<u>{{ m['role'] }} {% if m['role'] == 'assistant' %}"
        "{% if m['thinking'] and loop.last %}{% generation %}({{ m['thinking'] }})"
        "{% endgeneration %}{% endif %}{% generation %}{{ m['content'] }}<e>{% endgeneration %}"
        "{% else %}{{ m['content'] }}<e>{% endif %}{% endfor %}"
    )
    data = [row for row in turned.rows() if row["id"] not in ("c1", "c5", "c9")]
    first = {**data[0]["messages"][1], "thinking": "hm"}
    rewritten = [data[0]["messages"][0], first, {**answer("so"), "thinking": "oh"}]
    data.append({"id": "odd", "messages": rewritten})
    with caplog.at_level(logging.WARNING):
        trainer = turned.pruning(tmp_path, data=Dataset.from_list(data), template=template)
    assert sum("are one unit each" in record.message for record in caplog.records) == 1
    trainer.train()
    ledger = by_turn(read_ledger(tmp_path))
    assert ledger[("odd", 0)]["kind"] == "conversation"
    assert ("c0", 2) in ledger


def test_runs_of_labels_are_turns_of_rows_that_come_as_tokens(tmp_path) -> None:
    ids = turned.tokenizer()("<u>a<e>bcd<e><u>ef<e>ghijk<e>")["input_ids"]
    labels = [-100, -100, -100, *ids[3:7], *[-100] * 4, *ids[11:]]
    data = Dataset.from_list(
        [{"input_ids": ids, "labels": labels, "id": f"t{i}"} for i in range(8)]
    )
    trainer = turned.pruning(tmp_path, data=data, assistant_only_loss=False)
    trainer.train()
    ledger = read_ledger(tmp_path)
    assert set(ledger["kind"].to_pylist()) == {"turn"}
    assert {(r["turn"], r["n_tokens"]) for r in ledger.to_pylist()} == {(1, 4), (2, len(ids) - 11)}


def test_pruning_may_begin_later(tmp_path) -> None:
    trainer = turned.pruning(tmp_path, prune_start=0.5, num_train_epochs=2)
    trainer.train()
    kept = {
        step: [row["kept"] for row in read_ledger(tmp_path).to_pylist() if row["step"] == step]
        for step in range(1, 7)
    }
    assert all(all(kept[step]) for step in (1, 2, 3))
    assert all(sum(kept[step]) == keep_count(len(kept[step]), 0.5) for step in (4, 5, 6))


def test_a_weighter_counts_conversations_together(tmp_path) -> None:
    """A weight of the training forward is read where labels of several turns stand together."""
    trainer = turned.pruning(tmp_path, token_weight="dft", sample_ratio=0.7)
    trainer.train()
    assert all(loss > 0 for loss in runs.losses(trainer))


def test_turns_that_the_template_does_not_mark_are_counted_with_the_row(tmp_path, caplog) -> None:
    """A template that marks answers and not calls: the calls are not trained, and no units."""
    template = turned.TEMPLATE.replace(
        "{% if m['role'] == 'assistant' %}{% generation %}",
        "{% if m['tool_calls'] %}call{% for c in m['tool_calls'] %} {{ c['function']['name'] }}"
        "{% endfor %}<e>{% elif m['role'] == 'assistant' %}{% generation %}",
    )
    assert template != turned.TEMPLATE
    with caplog.at_level(logging.WARNING):
        trainer = turned.pruning(tmp_path, template=template)
    (told,) = (r.message for r in caplog.records if "have no trained token" in r.message)
    assert "3 turns of the assistant in 3 train conversations" in told
    assert "row 2" in told
    trainer.train()
    ledger = by_turn(read_ledger(tmp_path))
    assert ("c1", 1) not in ledger
    assert ledger[("c1", 2)]["kind"] == "answer"


@pytest.mark.skipif(not ANY_OBJECTS, reason="in streams older TRL keeps nulls that datasets adds")
def test_streams_are_pruned_by_turn(tmp_path) -> None:
    data = Dataset.from_list(turned.rows()).to_iterable_dataset()
    trainer = turned.pruning(tmp_path, data=data, max_steps=3)
    trainer.train()
    ledger = by_turn(read_ledger(tmp_path))
    assert len(ledger) == sum(map(turned.turns_of, turned.rows()))
    assert ledger[("c1", 1)]["kind"] == "call"
