"""Vision-language models of five families, trained on text with images."""

import json

import pytest
import torch
from transformers import set_seed

from qtuning import read_ledger
from qtuning.examples.example import answers_of, prune_tokens
from qtuning.pruners.protocols import OF_IMAGES, SAMPLE_EXTRAS, WITHOUT_IMAGE
from qtuning.run.record import BUDGET_FILE

from .. import runs, vision

pytestmark = pytest.mark.usefixtures("one_thread")
each_family = pytest.mark.parametrize("family", vision.FAMILIES)
SHORT = {"num_train_epochs": 1, "per_device_train_batch_size": 2}
EIGHT = vision.dataset(8)


@each_family
@pytest.mark.parametrize("talk", [False, True], ids=["prompts", "conversations"])
def test_at_ratio_one_training_is_the_stock_one_bit_by_bit(tmp_path, family, talk) -> None:
    data = vision.dataset(8, talk=talk)
    stock = vision.trainer(tmp_path / "stock", family, data=data, stock=True, **SHORT)
    stock.train()
    whole = {"sample_ratio": 1.0, "token_ratio": 1.0}
    ours = vision.trainer(tmp_path / "ours", family, data=data, **whole, **SHORT)
    ours.train()
    assert runs.losses(ours) == runs.losses(stock)
    assert runs.same_weights(ours, stock)


def prepared(tmp_path, family, **settings):
    """A trainer at the beginning of training, its model in eval mode."""
    trainer = vision.trainer(tmp_path, family, **SHORT, **settings)
    trainer.args.max_steps = 1
    trainer.train()
    trainer.model.eval()
    return trainer


def examples_of(trainer, n: int = 8) -> list[dict]:
    return [trainer._labels.of(dict(trainer.train_dataset[k])) for k in range(n)]


@each_family
def test_statistics_are_those_of_full_logits_in_float64(tmp_path, family) -> None:
    trainer = prepared(tmp_path, family, data=EIGHT)
    labels, scorer = trainer._labels, trainer._step_pruner.scorer
    examples = examples_of(trainer)
    counted = [(one, len(answers_of(one))) for one in examples]
    found = scorer(trainer.model, trainer.model, counted)
    alone = [labels.collate_as_is([trainer.train_dataset[k]]) for k in range(8)]
    trainer.model.double()
    for scores, batch in zip(found, alone, strict=True):
        batch = on_device(trainer, batch)
        pixels = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
        expected = vision.naive_nll(trainer.model, pixels).float()
        torch.testing.assert_close(scores.nll, expected, rtol=1e-4, atol=1e-4)


@each_family
def test_dropped_tokens_leave_what_a_shorter_answer_would_be(tmp_path, family) -> None:
    """Positions, of several axes in some models, are those of the text that is left."""
    trainer = prepared(tmp_path, family, data=EIGHT)
    row = dict(trainer.train_dataset[1])
    whole = trainer._labels.of(row)
    answers = answers_of(whole)
    keep = torch.ones(len(answers), dtype=torch.bool)
    words = row["completion"][0]["content"]
    first = int(answers[0]) + bytes(whole_text(trainer, whole, answers), "utf-8").index(b"number")
    keep[(answers >= first) & (answers < first + len("number "))] = False
    dropped = trainer._labels.collate([prune_tokens(whole, answers, keep, "drop"), whole])
    shorter = {
        **row,
        "completion": [{"role": "assistant", "content": words.replace("number ", "")}],
    }
    expected = trainer._labels.collate([trainer._labels.of(shorter), whole])
    assert dropped.keys() == expected.keys()
    for key in dropped:
        assert torch.equal(dropped[key], expected[key]), key
    with torch.no_grad():
        logits = [trainer.model(**on_device(trainer, one)).logits for one in (dropped, expected)]
    assert torch.equal(*logits)


def on_device(trainer, batch):
    return {key: value.to(trainer.args.device) for key, value in batch.items()}


def whole_text(trainer, example, answers) -> str:
    ids = [example["input_ids"][place] for place in answers]
    return trainer.processing_class.tokenizer.decode(ids)


@each_family
@pytest.mark.parametrize(
    "settings",
    [
        {"token_mode": "drop"},
        {"sample_pruner": "ifd"},
        {"sample_pruner": "image-gain", "token_pruner": "random"},
        {"one_pass": True, "pool_scope": "micro"},
    ],
    ids=lambda one: "-".join(map(str, one.values())),
)
def test_pruned_runs_keep_their_budget(tmp_path, family, settings) -> None:
    trainer = vision.trainer(tmp_path, family, data=EIGHT, sample_ratio=0.5, **settings, **SHORT)
    before = {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
    trainer.train()
    counts = json.loads((tmp_path / BUDGET_FILE).read_text())
    assert counts["kept_samples"] == 4
    assert counts["bad_samples"] == counts["empty_samples"] == 0
    changed = {n for n, one in trainer.model.named_parameters() if not torch.equal(one, before[n])}
    assert any("vis" in name for name in changed), "images are learnt from"
    if settings.get("token_mode") == "drop":
        assert counts["trained_tokens"] < counts["input_tokens"] / 2 + 20


@each_family
def test_no_image_token_is_an_answer_and_all_are_counted(tmp_path, family) -> None:
    data = vision.dataset(3, talk=True)
    trainer = vision.trainer(tmp_path, family, data=data, sample_ratio=0.5, **SHORT)
    trainer.train()
    config = trainer.model.config
    image = next(
        value
        for name in ("image_token_id", "image_token_index")
        if (value := getattr(config, name, None)) is not None
    )
    for example, n_images in zip(examples_of(trainer, 3), (1, 2, 0), strict=True):
        labels = dict(zip(example["input_ids"], example["labels"], strict=True))
        assert (image in labels) == (n_images > 0)
        assert image not in example["labels"]
        batch = trainer._labels.collate([example])
        assert torch.equal(batch["input_ids"][0], torch.tensor(example["input_ids"]))


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
def test_a_resumed_run_is_the_one_that_was_never_stopped(tmp_path, family) -> None:
    saving = {"save_strategy": "steps", "save_steps": 1, "sample_ratio": 0.5, "token_mode": "drop"}
    whole = vision.trainer(tmp_path / "whole", family, **saving)
    whole.train()
    stopped = vision.trainer(tmp_path / "again", family, **saving)
    stopped.add_callback(runs.StopAfter(2))
    with pytest.raises(runs.Stop):
        stopped.train()
    set_seed(12345)
    resumed = vision.trainer(tmp_path / "again", family, **saving)
    resumed.train(resume_from_checkpoint=True)
    assert whole.state.max_steps == 4
    assert runs.same_weights(whole, resumed)
    assert read_ledger(tmp_path / "whole").equals(read_ledger(tmp_path / "again"))


def test_gains_by_images_are_those_of_two_passes(tmp_path) -> None:
    trainer = prepared(tmp_path, "qwen2_5_vl", data=EIGHT, sample_pruner="image-gain")
    assert OF_IMAGES <= SAMPLE_EXTRAS
    step = trainer._step_pruner
    rows = [dict(trainer.train_dataset[k]) for k in range(8)]
    candidates = step.candidates([rows], 8)
    step._score(trainer.model, trainer.model, candidates, frozenset({WITHOUT_IMAGE}))
    for candidate, row in zip(candidates, rows, strict=True):
        without, with_images = candidate.extras[WITHOUT_IMAGE].tolist()
        if not row["images"]:
            assert without != without, "a sample without images has no gain"
            continue
        batch = on_device(trainer, trainer._labels.collate_as_is([row]))
        assert with_images == pytest.approx(
            float(vision.naive_nll(trainer.model, batch).mean()), 1e-4
        )
        text = batch["mm_token_type_ids"][0] == 0
        blind = {k: batch[k][:, text] for k in ("input_ids", "attention_mask", "labels")}
        assert without == pytest.approx(float(vision.naive_nll(trainer.model, blind).mean()), 1e-4)


def test_samples_whose_images_do_not_fit_are_left_out_with_a_reason(tmp_path) -> None:
    data = vision.Dataset.from_list([vision.row(k, n_images=1 + k % 2) for k in range(8)])
    for ratios in ({"sample_ratio": 0.5}, {"sample_ratio": 1.0, "token_ratio": 1.0}):
        folder = tmp_path / str(ratios["sample_ratio"])
        # The last two image tokens of samples 3 and 7 lie beyond; all other images end before.
        trainer = vision.trainer(folder, "idefics3", data=data, max_length=87, **ratios, **SHORT)
        trainer.train()
        reason = "2 of its 40 image tokens lie beyond max_length 87"
        assert trainer._labels.left_out == {"3": reason, "7": reason}
        counts = json.loads((folder / BUDGET_FILE).read_text())
        assert (counts["samples"], counts["empty_samples"]) == (6, 2)


def test_pruned_losses_of_qwen_are_divided_by_the_kept_tokens(tmp_path) -> None:
    """Its models take no number of items; TRL's loss divides by it all the same."""
    settings = {**SHORT, "sample_ratio": 0.5, "max_steps": 1, "optim": "sgd", "learning_rate": 1.0}
    settings |= {"max_grad_norm": 1e9, "token_pruner": "random", "sample_pruner": "longest"}
    one = vision.trainer(tmp_path / "a", "qwen3_vl", data=EIGHT, **settings)
    assert not type(one.model).accepts_loss_kwargs
    one.train()
    wide = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    other = vision.trainer(tmp_path / "b", "qwen3_vl", data=EIGHT, **{**settings, **wide})
    other.train()
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@each_family
def test_a_stored_picture_is_not_read_before_it_is_needed(tmp_path, family) -> None:
    trainer = vision.trainer(tmp_path, family, data=EIGHT, **SHORT)
    for row in trainer.train_dataset:
        assert all(isinstance(image["bytes"], bytes) for image in row["images"])
    assert not isinstance(EIGHT[0]["images"][0], dict), "the user's data stay as they are"


def single() -> vision.Dataset:
    """Rows with one picture each, in a column ``image``."""
    rows = [vision.row(k, n_images=1) for k in range(8)]
    return vision.Dataset.from_list([{**row, "image": row.pop("images")[0]} for row in rows])


@pytest.mark.parametrize(
    ("family", "data", "settings"),
    [
        ("llava", EIGHT, {"token_weight": "power"}),
        ("llava", EIGHT, {"one_pass": True, "pool_scope": "micro", "token_weight": "dft"}),
        ("llava", EIGHT, {"token_pruner": "step-entropy"}),
        ("llava", EIGHT, {"dataloader_num_workers": 1}),
        ("llava", single(), {}),
        ("idefics3", EIGHT, {"score_refresh": 0.5}),
        ("gemma3", EIGHT, {"probe_samples": 4, "probe_steps": 1, "entropy_over": "all"}),
        ("gemma3", EIGHT.to_iterable_dataset(), {"max_steps": 2}),
        ("qwen3_vl", EIGHT.add_column("loss_weight", [1.0, 2.0] * 4), {}),
    ],
    ids=[
        "weights of tokens",
        "one pass",
        "a tokenizer within the processor",
        "workers",
        "a single image",
        "last scores",
        "a probe set",
        "a stream",
        "users' weights",
    ],
)
def test_what_works_with_text_works_with_images(tmp_path, family, data, settings) -> None:
    settings = {**SHORT, "sample_ratio": 0.5, **settings}
    trainer = vision.trainer(tmp_path, family, data=data, **settings)
    trainer.train()
    counts = json.loads((tmp_path / BUDGET_FILE).read_text())
    assert counts["kept_samples"] == 2 * trainer.state.global_step
    assert all(loss == loss for loss in runs.losses(trainer))
