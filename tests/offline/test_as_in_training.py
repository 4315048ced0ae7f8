"""`qtuning prune` on the pool of a run's step decides as the run did, tokens included."""

import json
import math

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel

import qtuning
from qtuning import QTuningConfig, QTuningTrainer, read_ledger
from qtuning.errors import UsageError
from qtuning.examples.prepare import ready_rows
from qtuning.examples.tokenising import Tokenising
from qtuning.pruners.protocols import OF_ALONE, QUADRANTS, SCORES
from qtuning.pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS

from .. import architectures, device, runs, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
OFFLINE = {SCORES, QUADRANTS, *OF_ALONE}
SAMPLES = [name for name, pruner in SAMPLE_PRUNERS.items() if pruner.needs <= OFFLINE]
TOKENS = [name for name, pruner in TOKEN_PRUNERS.items() if pruner.needs <= OFFLINE]
# Each with Q-Tuning's other half, and with one that reads no scores.
PAIRS = sorted(
    {
        *((sample, token) for sample in SAMPLES for token in ("q-tuning", "none")),
        *((sample, token) for token in TOKENS for sample in ("q-tuning", "random")),
    }
)
LENGTH = 96
END, IGNORED = 3, -100
POISON = "Z"
(POISON_ID,) = tiny.tokenizer()(POISON)["input_ids"]
BUDGET = {"sample_ratio": 0.5, "token_ratio": 0.4}
RELEASED = {"entropy_over": "all", "token_budget": "pool", "fill_tokens": "side"}
RELEASED |= {"protect_eos": False, "token_pruner": "q-tuning", "token_ratio": 0.1}


def conversations(n: int = 16) -> list[dict]:
    """Of one and two turns; one is cut in the middle of its answer, one has the poison."""
    rows = []
    for i, row in enumerate(tiny.rows(n)):
        words = [row["prompt"], row["completion"], "and?", f"{i * i} so it is"]
        if i == 3:
            words[1] = "so on " * 40
        if i == 5:
            words[1] = f"{POISON} {i}"
        roles = ("user", "assistant") * 2
        turns = [{"role": role, "content": text} for role, text in zip(roles, words, strict=True)]
        rows.append({"messages": turns if i % 3 else turns[:2], "id": row["id"]})
    return rows


def with_prompts() -> list[dict]:
    """The same conversations; all but the last turn is the prompt."""
    return [
        {"prompt": row["messages"][:-1], "completion": row["messages"][-1:], "id": row["id"]}
        for row in conversations()
    ]


def without_numbers() -> PreTrainedModel:
    """A model that makes NaN of the sample that has the poison."""
    model = tiny.llama()
    with torch.no_grad():
        model.get_input_embeddings().weight[POISON_ID] = float("nan")
    return model


def never_says_it() -> PreTrainedModel:
    """A model to which the poison is impossible: infinite perplexity, and finite entropy."""
    model = architectures.build("phi", vocab_size=100, pad_token_id=0, eos_token_id=1)
    with torch.no_grad():
        model.lm_head.bias[POISON_ID] = -1e30
    return model


MODELS = {"sound": tiny.llama, "NaN": without_numbers, "infinite": never_says_it}


class Watched(QTuningTrainer):
    """Remembers the input ids and the labels of all that it trains on."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.trained: list[tuple[list[int], list[int]]] = []

    def compute_loss(self, model, inputs, *args, **kwargs):
        for ids, labels, mask in zip(
            *(inputs[name] for name in ("input_ids", "labels", "attention_mask")), strict=True
        ):
            self.trained.append((ids[mask == 1].tolist(), labels[mask == 1].tolist()))
        return super().compute_loss(model, inputs, *args, **kwargs)


def train(folder, model, rows=conversations, **settings) -> Watched:
    """Train on all rows in steps of 16, or of what the settings say."""
    args = {
        **runs.SETTINGS,
        "num_train_epochs": 1,
        "learning_rate": 0.0,
        "gradient_accumulation_steps": 4,
        "max_length": LENGTH,
        **BUDGET,
        **settings,
    }
    config, tokenizer = QTuningConfig(str(folder), **args), tiny.tokenizer(chat=True)
    # As `qtuning train` reads them: older TRL masks other tokens of conversational prompts.
    data = ready_rows(Dataset.from_list(rows()), "rows", tokenizer, Tokenising.of(config))
    trainer = Watched(model, config, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def order(tmp_path_factory) -> list[str]:
    """The order in which a run sees the conversations; the seed decides it alone."""
    folder = tmp_path_factory.mktemp("order")
    train(folder, tiny.llama(), sample_pruner="full", token_pruner="none")
    return read_ledger(folder)["sample_id"].to_pylist()


@pytest.fixture(scope="module")
def scores_of(order, tmp_path_factory):
    """Scores of the conversations in a run's order, by each of the untrained models."""
    return scored(conversations, order, tmp_path_factory)


@pytest.fixture(scope="module")
def scores_with_prompts(order, tmp_path_factory):
    """The same of the conversations whose last turn alone is the answer."""
    return scored(with_prompts, order, tmp_path_factory)


def scored(rows, order, tmp_path_factory) -> dict[str, Dataset]:
    """Scores of some rows, in an order, by each of the models."""
    by_id = {row["id"]: row for row in rows()}
    data = Dataset.from_list([by_id[name] for name in order])
    scores = {}
    for name, make in MODELS.items():
        folder = tmp_path_factory.mktemp(name) / "model"
        make().save_pretrained(folder)
        tiny.tokenizer(chat=True).save_pretrained(folder)
        scores[name] = qtuning.score(
            data,
            folder,
            per_token=True,
            alone=True,
            entropy_over="all",
            max_length=LENGTH,
            batch_size=4,
            bf16=False,
            progress=False,
        )
    return scores


def exported(scores, folder, **settings) -> dict[str, tuple[list[int], list[int]]]:
    """Input ids and labels of each row that `prune` writes for TRL, by id."""
    qtuning.prune(scores, output=folder, format="trl", **settings)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    table = pq.read_table(folder / "train.parquet").to_pylist()
    return {
        row["id"]: (tokens["input_ids"], tokens["labels"])
        for row, tokens in zip(rows, table, strict=True)
    }


def answers(labels: list[int]) -> list[int]:
    """Labels that count: nothing predicts the first token."""
    return [IGNORED, *labels[1:]]


def check_same(scores, ledger, trained, folder, pool_size=None, **settings) -> None:
    """Check that `prune` decides as the run did that has the ledger."""
    settings = {**BUDGET, **settings, "pool_size": pool_size}
    decided = qtuning.prune(scores, with_dropped=True, **settings).to_list()
    assert [row["sample_id"] for row in ledger] == [row["sample_id"] for row in decided]
    for name in ("kept", "quadrant", "filled"):
        assert [row[name] for row in ledger] == [row[name] for row in decided], name
    out = exported(scores, folder, **settings)
    # An answer that lost all its tokens is kept, and trained on by no one.
    assert set(out) == {row["sample_id"] for row in ledger if row["kept"] and row["tokens_kept"]}
    labels_of = {tuple(ids): answers(labels) for ids, labels in trained}
    assert len(labels_of) == len(trained) == len(out)
    assert labels_of == {tuple(ids): answers(labels) for ids, labels in out.values()}
    for row in ledger:
        if row["kept"] and row["tokens_kept"]:
            count = sum(label != IGNORED for label in answers(out[row["sample_id"]][1]))
            assert count == row["tokens_kept"]


def ends(labels_of) -> tuple[int, int]:
    """How many ends of turns have their label, of how many."""
    kept = all_ends = 0
    for ids, labels in labels_of:
        for token, label in zip(ids[1:], labels[1:], strict=True):
            all_ends += token == END
            kept += label == END
    return kept, all_ends


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("sample_pruner", "token_pruner"), PAIRS)
def test_every_pruner_decides_as_in_the_run(
    scores_of, scores_with_prompts, tmp_path, model, sample_pruner, token_pruner
) -> None:
    pair = {"sample_pruner": sample_pruner, "token_pruner": token_pruner}
    compares = bool(SAMPLE_PRUNERS[sample_pruner].needs & OF_ALONE)
    rows = with_prompts if compares else conversations
    rounding = device.rounding()
    trainer = train(tmp_path / "run", MODELS[model](), rows, **pair)
    ledger = read_ledger(tmp_path / "run").to_pylist()
    scores = (scores_with_prompts if compares else scores_of)[model]
    check_same(scores, ledger, trainer.trained, tmp_path / "out", **pair)
    if SCORES in SAMPLE_PRUNERS[sample_pruner].needs:
        assert sum(row["kept"] for row in ledger) == 8, "what is bad takes no place"
        for name in ("ppl", "entropy"):
            of_run = torch.tensor([row[name] for row in ledger], dtype=torch.float64)
            here = torch.tensor(scores[name], dtype=torch.float64)
            torch.testing.assert_close(of_run, here, equal_nan=True, **rounding)
    kept, all_ends = ends(trainer.trained)
    assert compares or kept == all_ends > 0  # the turns of a prompt have no label


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sample_pruner", SAMPLES)
def test_every_sample_pruner_decides_on_answers_to_prompts_as_in_the_run(
    scores_with_prompts, tmp_path, model, sample_pruner
) -> None:
    pair = {"sample_pruner": sample_pruner, "token_pruner": "none"}
    trainer = train(tmp_path / "run", MODELS[model](), with_prompts, **pair)
    ledger = read_ledger(tmp_path / "run").to_pylist()
    check_same(scores_with_prompts[model], ledger, trainer.trained, tmp_path / "out", **pair)


def test_the_prompts_make_a_difference_to_ifd(scores_of, scores_with_prompts) -> None:
    """Conversations that are answers altogether have no prompt: nothing would be compared."""
    assert scores_of["sound"]["nll_alone_sum"] == [None] * 16
    scores = scores_with_prompts["sound"]
    gains = [a - b for a, b in zip(scores["nll_alone_sum"], scores["nll_sum"], strict=True)]
    assert min(gains) < 0 < max(gains)
    for name in ("ifd", "gain-high", "q-tuning-gain", "s-ifd"):
        kept = qtuning.prune(scores, sample_pruner=name, sample_ratio=0.5, token_ratio=1.0)
        assert kept["sample_id"] != scores["sample_id"][:8]


def test_what_has_no_prompts_at_all_is_refused(scores_of, tmp_path) -> None:
    for name in ("ifd", "gain-high", "gain-random", "q-tuning-gain", "s-ifd"):
        with pytest.raises(UsageError, match=f"sample_pruner {name} on rows without prompts"):
            train(tmp_path, tiny.llama(), sample_pruner=name, token_pruner="none")
        with pytest.raises(UsageError, match=f"none of the rows has a prompt.*{name}"):
            qtuning.prune(scores_of["sound"], sample_pruner=name, token_ratio=1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"token_mode": "drop"},
        {"protect_eos": False},
        {"token_ratio": 0.01},
        {"sample_ratio": 1.0},
        {"error_scale": "log_ppl", "fill_tokens": "side"},
        {"entropy_over": "all"},
        {"token_rule": "and", "token_pruner": "q-tuning"},
        RELEASED,
        {**RELEASED, "token_rule": "and", "token_mode": "drop"},
        {"seed": 7, "data_seed": 42, "sample_pruner": "random"},
    ],
    ids=str,
)
def test_every_setting_does_as_in_the_run(scores_of, tmp_path, settings) -> None:
    settings = {"token_pruner": "ppl-neighbor", **settings}
    trainer = train(tmp_path / "run", tiny.llama(), **settings)
    ledger = read_ledger(tmp_path / "run").to_pylist()
    settings.pop("data_seed", None)
    check_same(scores_of["sound"], ledger, trainer.trained, tmp_path / "out", **settings)


@pytest.mark.parametrize("model", MODELS)
def test_the_entropy_over_all_positions_is_that_of_the_run(scores_of, tmp_path, model) -> None:
    train(tmp_path / "run", MODELS[model](), entropy_over="all")
    ledger, scores = read_ledger(tmp_path / "run").to_pylist(), scores_of[model].to_list()
    decided = qtuning.prune(scores_of[model], with_dropped=True, entropy_over="all").to_list()
    rel = device.rounding()["rtol"]
    for row, score, decision in zip(ledger, scores, decided, strict=True):
        assert row["entropy"] == pytest.approx(score["entropy_all"], rel, 0.0, nan_ok=True)
        assert decision["entropy"] == pytest.approx(score["entropy_all"], abs=0.0, nan_ok=True)
        assert decision["entropy_answer"] == pytest.approx(score["entropy"], abs=0, nan_ok=True)
        assert "entropy_all" not in decision


def test_pools_of_several_steps_have_a_budget_each(scores_of, tmp_path) -> None:
    trainer = train(tmp_path / "run", tiny.llama(), gradient_accumulation_steps=1, **RELEASED)
    ledger = read_ledger(tmp_path / "run").to_pylist()
    assert any(row["kept"] and not row["tokens_kept"] for row in ledger)
    scores = scores_of["sound"]
    check_same(scores, ledger, trainer.trained, tmp_path / "out", pool_size=4, **RELEASED)


class Longer:
    """Keeps what is longer than all that it kept before; late in the run it keeps all."""

    needs: frozenset = frozenset()
    own_budget = "as many as it likes"

    def __call__(self, pool, args):
        longest = pool.memory.get("longest", torch.tensor(0))
        pool.memory["longest"] = torch.maximum(longest, pool.n_tokens.max() // 2)
        return (pool.n_tokens > longest) | (pool.progress >= 0.75)


class ByRank:
    """Keeps the most surprising tokens of the pool, whichever samples they are of."""

    needs = frozenset({SCORES})

    def __call__(self, pool, args):
        all_nll = torch.tensor(pool.gather(torch.cat([s.nll for s in pool.samples]).tolist()))
        return [(s.nll >= all_nll.median()) | s.protected for s in pool.samples]


@pytest.mark.parametrize(
    ("sample_pruner", "token_pruner"),
    [("random", "random"), ("q-tuning", "ppl"), (Longer(), "random"), ("random", ByRank())],
    ids=["random", "scores", "samples of one's own", "tokens of one's own"],
)
def test_pools_are_decided_as_the_steps_of_a_run(
    scores_of, tmp_path, sample_pruner, token_pruner
) -> None:
    """Nothing is learnt, so that one file of scores holds for all steps."""
    pair = {"sample_pruner": sample_pruner, "token_pruner": token_pruner}
    trainer = train(tmp_path / "run", tiny.llama(), gradient_accumulation_steps=1, **pair)
    ledger = read_ledger(tmp_path / "run").to_pylist()
    assert max(row["step"] for row in ledger) == 4
    check_same(scores_of["sound"], ledger, trainer.trained, tmp_path / "out", pool_size=4, **pair)


def test_the_models_make_what_they_are_called(scores_of) -> None:
    for name, scores in scores_of.items():
        bad = [row for row in scores.to_list() if not math.isfinite(row["ppl"])]
        assert [row["id"] for row in bad] == ([] if name == "sound" else ["s5"])
        assert all(math.isnan(row["ppl"]) == (name == "NaN") for row in bad)


def test_of_a_row_that_is_cut_no_token_is_protected(scores_of) -> None:
    """The last token is no end there; it may go."""
    scores = scores_of["sound"].to_list()
    cut = next(row for row in scores if row["id"] == "s3")
    assert cut["n_tokens"] == LENGTH - 1
    assert len(cut["turn_ends"]) == 1, "the user's"
    for row in scores:
        if row["id"] != "s3":
            assert row["turn_ends"][-1] == row["n_tokens"] - 1
            assert len(row["turn_ends"]) == len(row["messages"])
