"""Numbers that go wrong, in whole runs: decisions stay defined and repeat themselves."""

import math

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Trainer

from qtuning import read_ledger, with_pruning
from qtuning.pruners.ranking import minmax

from .. import runs, tiny
from .test_stock import PlainArguments, plain_data

ODD = [
    {"prompt": "1 + 1 =", "completion": "2"},  # one token and the end of the text
    {"prompt": "1 + 1 =", "completion": "2"},  # the same again
    {"prompt": "1 + 1 =", "completion": "2"},
    {"prompt": "", "completion": "x"},  # nothing to answer
    {"prompt": "7 + 7 =", "completion": " 14 so it is"},  # the poisoned one
    {"prompt": "2 + 3 =", "completion": " " + "so " * 40 + "5"},
    {"prompt": "say a", "completion": "aaaaaaaaaaaaaaaa"},
    {"prompt": "say b", "completion": "b " * 20},
]
POISONED = "4"


def odd(copies: int = 1) -> Dataset:
    rows = [{**row, "id": f"{i}"} for i, row in enumerate(ODD)]
    return Dataset.from_list(
        rows + [{**row, "id": f"{row['id']}-{c}"} for c in range(1, copies) for row in rows]
    )


def record(folder) -> dict[str, list]:
    return read_ledger(folder).to_pydict()


def decisions(folder) -> list[tuple]:
    table = record(folder)
    names = ("step", "sample_id", "kept", "filled", "tokens_kept")
    return list(zip(*(table[name] for name in names), strict=True))


def finite(trainer) -> bool:
    return all(bool(p.isfinite().all()) for p in trainer.model.parameters())


@pytest.mark.parametrize(("sample_pruner", "token_pruner"), runs.PAIRS)
def test_a_nan_sample_leaves_every_pruner_standing(tmp_path, sample_pruner, token_pruner) -> None:
    settings = {"num_train_epochs": 1, "sample_pruner": sample_pruner}
    if token_pruner in runs.COMPARING:
        settings["reference_model_name_or_path"] = str(tiny.save_model(tmp_path / "reference"))
    trainer = runs.pruning(
        tmp_path / "run",
        data=odd(),
        model=tiny.poisoned("7"),
        token_pruner=token_pruner,
        **settings,
    )
    trainer.train()
    kept = {sample: kept for _, sample, kept, _, _ in decisions(tmp_path / "run")}
    assert len(kept) == len(ODD)
    # Whoever reads scores sees it; a pair without scores trains on what it is given, as TRL does.
    if all(record(tmp_path / "run")["scored"]):
        assert not kept[POISONED]
        others = [p for n, p in trainer.model.named_parameters() if "embed" not in n]
        assert all(bool(p.isfinite().all()) for p in others)


EDGES = {
    "a pool of one": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
    "micro-pools of one": {"per_device_train_batch_size": 1, "pool_scope": "micro"},
    "a ratio below one sample": {"sample_ratio": 0.001, "token_ratio": 0.001},
    "raw and logarithmic axes": {"error_scale": "log_ppl"},
    "tokens dropped": {"token_mode": "drop", "token_ratio": 0.001, "protect_eos": False},
    "one pass": {"one_pass": True, "pool_scope": "micro"},
}


@pytest.mark.parametrize("settings", EDGES.values(), ids=EDGES)
def test_edges_train_and_repeat_themselves(tmp_path, settings) -> None:
    made = []
    for name in ("one", "two"):
        trainer = runs.pruning(tmp_path / name, data=odd(2), **settings)
        trainer.train()
        assert finite(trainer)
        assert all(math.isfinite(loss) for loss in runs.losses(trainer))
        made.append((trainer, decisions(tmp_path / name)))
    assert made[0][1] == made[1][1]
    assert runs.same_weights(made[0][0], made[1][0])
    assert any(kept for _, _, kept, _, _ in made[0][1])
    assert all(tokens > 0 for _, _, kept, _, tokens in made[0][1] if kept)


def test_equal_samples_are_told_apart_by_their_place_alone(tmp_path) -> None:
    data = Dataset.from_list([{**ODD[0], "id": str(i)} for i in range(8)])
    model = tiny.llama()  # no dropout
    trainer = runs.pruning(tmp_path, data=data, model=model, num_train_epochs=1)
    trainer.train()
    table = record(tmp_path)
    assert len(set(table["ppl"])) == 1
    assert sum(table["kept"]) == 4
    assert list(table["kept"]) == sorted(table["kept"], reverse=True)  # the earlier of equals


def test_perplexity_that_overflows_is_a_bad_sample_not_a_crash(tmp_path) -> None:
    model = tiny.llama()
    with torch.no_grad():  # mean NLLs of thousands of nats, whose exponent no float64 holds
        model.lm_head.weight.mul_(3e4)
    trainer = runs.pruning(tmp_path, model=model, num_train_epochs=1, learning_rate=0.0)
    trainer.train()
    table = record(tmp_path)
    overflown = [not math.isfinite(ppl) for ppl in table["ppl"]]
    assert any(overflown)
    assert not any(k and bad for k, bad in zip(table["kept"], overflown, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_half_precision_are_scored_and_trained(tmp_path, dtype) -> None:
    trainer = runs.pruning(tmp_path, model=tiny.llama().to(dtype), learning_rate=1e-4)
    trainer.train()
    table = record(tmp_path)
    assert all(math.isfinite(ppl) for ppl in table["ppl"])
    assert all(entropy >= 0 for entropy in table["entropy"])  # rounding never makes it negative
    assert sum(table["kept"]) == len(table["kept"]) // 2


def test_a_vocabulary_padded_beyond_the_tokenizer_decides_the_same_where_it_has_no_mass(
    tmp_path,
) -> None:
    plain, padded = tiny.llama(), tiny.llama()
    padded.resize_token_embeddings(128, mean_resizing=False)
    with torch.no_grad():
        padded.lm_head.weight[100:] = 0
        hidden_up = torch.zeros(128)
        hidden_up[100:] = -1e4
        padded.lm_head.bias = torch.nn.Parameter(hidden_up)
        plain.lm_head.bias = torch.nn.Parameter(torch.zeros(100))
    for name, model in (("plain", plain), ("padded", padded)):
        runs.pruning(tmp_path / name, model=model, num_train_epochs=1).train()
    assert decisions(tmp_path / "plain") == decisions(tmp_path / "padded")


def test_left_padding_decides_as_right_padding(tmp_path) -> None:
    # Padding on the left would have the first token predicted from it, which is refused.
    rows = [row | {"labels": [-100, *row["input_ids"][1:]]} for row in plain_data()]
    first = []
    for side in ("left", "right"):
        tokenizer = tiny.tokenizer()
        tokenizer.padding_side = side
        collator = DataCollatorForSeq2Seq(tokenizer)
        first.append(collator([dict(rows[0]), dict(rows[1])])["attention_mask"][:, 0].tolist())
        with_pruning(Trainer)(
            tiny.llama(),
            PlainArguments(str(tmp_path / side), **runs.SETTINGS | {"num_train_epochs": 1}),
            data_collator=collator,
            train_dataset=rows,
        ).train()
    assert first[0] != first[1] == [1, 1]  # the sides do differ
    assert decisions(tmp_path / "left") == decisions(tmp_path / "right")


def test_an_answer_of_10000_tokens(tmp_path) -> None:
    rows = [{**ODD[i % 4], "id": str(i)} for i in range(3)]
    rows.append({"prompt": "count", "completion": "so " * 3333 + "5", "id": "long"})
    model = tiny.llama(max_position_embeddings=16384, num_hidden_layers=1)
    trainer = runs.pruning(
        tmp_path,
        data=Dataset.from_list(rows),
        model=model,
        max_length=None,
        num_train_epochs=1,
        per_device_train_batch_size=2,
        sample_pruner="longest",
        token_pruner="ppl",
        sample_ratio=0.25,
    )
    trainer.train()
    table = record(tmp_path)
    tokens = dict(zip(table["sample_id"], table["n_tokens"], strict=True))
    assert tokens["long"] == 10_001
    kept = dict(zip(table["sample_id"], table["tokens_kept"], strict=True))
    assert kept["long"] == 5_000
    assert finite(trainer)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 5.0, 10.0], [0.0, 0.5, 1.0]),
        ([3.0, 3.0], [0.0, 0.0]),
        ([math.inf, 2.0, 1.0], [1.0, 1.0, 0.0]),
        ([-math.inf, 2.0, 1.0], [0.0, 1.0, 0.0]),
        ([-math.inf, math.inf], [0.0, 1.0]),
        ([math.inf, math.inf], [1.0, 1.0]),
        ([3.0, math.inf, 3.0, -math.inf], [0.0, 1.0, 0.0, 0.0]),
        ([math.nan, 2.0, 1.0], [math.nan, 1.0, 0.0]),
        ([-0.0, 0.0], [0.0, 0.0]),
        ([], []),
    ],
)
def test_scaling_to_0_1_is_of_what_is_finite(values, expected) -> None:
    got = minmax(torch.tensor(values)).tolist()
    assert got == pytest.approx(expected, nan_ok=True)
