"""The scoring pass: order, batches, modes, randomness, and ranks that wait for each other."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from qtuning.errors import UsageError
from qtuning.examples.example import Example, answer_positions
from qtuning.signals.forward import model_token_stats
from qtuning.signals.scorer import Scorer, Scores, evaluating, split_by_sample

from .. import sizes, tiny
from ..architectures import build, examples, padded

TOLERANCE = 1e-5
LENGTHS = (7, 19, 4, 12, 2, 26, 9)  # in no order


pytestmark = pytest.mark.usefixtures("one_thread")


def counted(samples: Sequence[Example]) -> list[tuple[Example, int]]:
    return [(sample, len(answer_positions(sample["labels"]))) for sample in samples]


EXAMPLES = counted(examples(LENGTHS))


class Collator:
    """Pads; remembers the lengths of the samples of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, samples: Sequence[Example]) -> dict[str, Tensor]:
        self.batches.append([len(sample["input_ids"]) for sample in samples])
        return padded(list(samples))


def scorer(
    collate: Callable[..., dict[str, Any]] = padded,
    batch_size: int = 3,
    highest: Callable[[int], int] | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    **options: Any,
) -> Scorer:
    return Scorer(
        collate=collate,
        to_device=lambda batch: batch,
        autocast=autocast,
        batch_size=batch_size,
        highest=highest,
        **options,
    )


def count_forwards(module: nn.Module) -> list[int]:
    rows: list[int] = []
    module.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return rows


def assert_same(got: Sequence[Scores], expected: Sequence[Scores]) -> None:
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        for a, b in zip(mine[:2], theirs[:2], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE, equal_nan=True)


def one_by_one(model: LlamaForCausalLM) -> list[Scores]:
    scores = []
    for sample, _ in EXAMPLES:
        stats = model_token_stats(model, padded([sample]))
        scores.append(Scores(stats.nll[stats.mask], stats.entropy[stats.mask], {}))
    return scores


# Order and batches


def test_results_come_in_the_order_given_though_the_longest_are_scored_first() -> None:
    model, collator = tiny.llama().eval(), Collator()
    scores = scorer(collator, overhead=20)(model, model, EXAMPLES)
    assert collator.batches == [[26, 19], [12, 9, 7, 4, 2]]  # 3 x 26 would be the largest
    assert [len(nll) for nll, *_ in scores] == [n for _, n in EXAMPLES]
    assert_same(scores, one_by_one(model))


@pytest.mark.parametrize("overhead", [0, 20, 1000])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batches_do_not_matter(batch_size: int, overhead: int) -> None:
    model = tiny.llama().eval()
    scores = scorer(batch_size=batch_size, overhead=overhead)(model, model, EXAMPLES)
    assert_same(scores, one_by_one(model))


def test_another_model_scores_in_place_of_the_one_trained() -> None:
    model, other = tiny.llama(), tiny.llama(seed=1)
    wrapped, asked = Wrapper(model), []
    other_scores = scorer(other_model=other, highest=lambda own: asked.append(own) or own)
    assert_same(other_scores(model, wrapped, EXAMPLES), one_by_one(other.eval()))
    assert asked == []  # its weights are whole on every rank, so nobody waits


def test_padding_free_collator_gives_the_same() -> None:
    sft_trainer = pytest.importorskip("trl.trainer.sft_trainer")
    collator = sft_trainer.DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    model = tiny.llama().eval()
    assert_same(scorer(collator)(model, model, EXAMPLES), one_by_one(model))


def test_nothing_to_score_gives_nothing() -> None:
    model = tiny.llama()
    assert scorer()(model, model, []) == []


def test_scores_are_float32_on_the_cpu_in_any_precision() -> None:
    model = tiny.llama()
    exact = scorer()(model, model, EXAMPLES)
    autocast = scorer(autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    rounded = autocast(model, model, EXAMPLES)
    for (nll, entropy, *_), (other, *_) in zip(exact, rounded, strict=True):
        for values in (nll, entropy, other):
            assert values.dtype == torch.float32
            assert values.device.type == "cpu"
    difference = torch.cat([a[0] - b[0] for a, b in zip(exact, rounded, strict=True)]).abs()
    assert 0 < difference.mean() < 0.1  # so the pass did run under autocast


def test_batches_go_to_the_device_before_the_model_sees_them() -> None:
    model, moved = tiny.llama(), []
    scores = scorer(overhead=20)
    scores.to_device = lambda batch: moved.append(len(batch["labels"])) or batch
    scores(model, model, EXAMPLES)
    assert moved == [2, 5]


def test_scores_have_memory_of_their_own_and_are_sent_as_large_as_they_are() -> None:
    counts = [300] * 64
    samples = split_by_sample(torch.rand(2, sum(counts)), counts)
    tensors = [scores for nll, entropy, _ in samples for scores in (nll, entropy)]
    assert len({scores.untyped_storage().data_ptr() for scores in tensors}) == 2 * 64
    assert all(scores.untyped_storage().nbytes() == 4 * 300 for scores in tensors)
    n_bytes, received = sizes.sent([(f"s{i}", nll) for i, (nll, *_) in enumerate(samples)])
    assert n_bytes <= 64 * (4 * 300 + 400)
    assert all(nll.untyped_storage().nbytes() == 4 * 300 for _, nll in received)


# What must be left as found


def mixed_modes(model: nn.Module) -> list[bool]:
    for i, module in enumerate(model.modules()):
        module.training = i % 3 != 1
    return flags(model)


def flags(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_training_flags_are_left_as_found() -> None:
    model, seen = tiny.llama(), []
    model.base_model.register_forward_pre_hook(lambda *_: seen.append(any(flags(model))))
    before = mixed_modes(model)
    scorer()(model, model, EXAMPLES)
    assert seen
    assert not any(seen)
    assert flags(model) == before
    assert len(set(before)) == 2


@pytest.mark.parametrize("where", ["model", "collator"])
def test_training_flags_are_left_as_found_when_scoring_raises(where: str) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    model = tiny.llama()
    if where == "model":
        model.base_model.layers[1].register_forward_pre_hook(fail)
    before = mixed_modes(model)
    with pytest.raises(RuntimeError, match="out of memory"):
        scorer(fail if where == "collator" else padded)(model, model, EXAMPLES)
    assert flags(model) == before


def test_evaluating_nests() -> None:
    model = tiny.llama()
    before = mixed_modes(model)
    with evaluating(model):
        with evaluating(model):
            assert not any(flags(model))
        assert not any(flags(model))
    assert flags(model) == before


def test_dropout_is_off_and_no_global_random_number_is_drawn() -> None:
    model = build("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    expected = scorer()(model, model, EXAMPLES)
    model.train()
    state = torch.random.get_rng_state()
    assert_same(scorer()(model, model, EXAMPLES), expected)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():  # had the model been in train mode, it would have drawn
        model(**padded([EXAMPLES[0][0]]))
    assert not torch.equal(torch.random.get_rng_state(), state)


def test_no_gradient_is_left_or_computed() -> None:
    model, enabled = tiny.llama().train(), []
    model.base_model.register_forward_pre_hook(lambda *_: enabled.append(torch.is_grad_enabled()))
    scores = scorer()(model, model, EXAMPLES)
    assert enabled
    assert not any(enabled)
    assert torch.is_grad_enabled()
    assert not any(nll.requires_grad or entropy.requires_grad for nll, entropy, _ in scores)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_activation_checkpointing_does_not_matter() -> None:
    model = tiny.llama()
    expected = scorer()(model, model, EXAMPLES)
    model.gradient_checkpointing_enable()
    model.train()
    before = flags(model)
    assert_same(scorer()(model, model, EXAMPLES), expected)
    assert flags(model) == before


def test_examples_are_left_as_they_are() -> None:
    model, given = tiny.llama(), counted(examples(LENGTHS))
    scorer()(model, model, given)
    assert given == EXAMPLES


# What goes wrong


@pytest.mark.parametrize("change", ["all tokens", "one fewer", "none"])
def test_collator_that_changes_labels_is_refused(change: str) -> None:
    def collate(samples: Sequence[Example]) -> dict[str, Tensor]:
        batch = padded(list(samples))
        if change == "all tokens":
            batch["labels"] = batch["input_ids"].clone()
        elif change == "one fewer":
            batch["labels"][0, 1] = -100
        else:
            batch["labels"].fill_(-100)
        return batch

    model = tiny.llama()
    with pytest.raises(UsageError, match="collator changed the labels"):
        scorer(collate)(model, model, EXAMPLES)


@pytest.mark.parametrize("longest_too", [False, True])
def test_nan_in_the_weights_makes_scores_nan_of_the_samples_it_touches(longest_too: bool) -> None:
    model = tiny.llama()
    expected = scorer()(model, model, EXAMPLES)
    token = 99  # of no sample
    assert all(token not in sample["input_ids"] for sample, _ in EXAMPLES)
    given = counted(examples(LENGTHS))
    touched = {2, 5} if longest_too else {2}  # the longest is what the head is checked with
    for i in touched:
        given[i][0]["input_ids"][0] = token
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    scores = scorer()(model, model, given)
    for i, (nll, entropy, *_) in enumerate(scores):
        if i in touched:
            assert nll.isnan().all()
            assert entropy.isnan().all()
            assert len(nll) == given[i][1]
        else:
            assert_same([scores[i]], [expected[i]])


def test_nan_in_the_head_makes_all_scores_nan() -> None:
    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    for nll, entropy, *_ in scorer()(model, model, EXAMPLES):
        assert nll.isnan().all()
        assert entropy.isnan().all()


class ScaledLlama(LlamaForCausalLM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        out.logits = out.logits * 3
        return out


def test_model_that_would_be_scored_wrongly_is_refused() -> None:
    model = ScaledLlama(tiny.llama().config)
    model.load_state_dict(tiny.llama().state_dict())
    with pytest.raises(UsageError, match="ScaledLlama does something to its logits"):
        scorer()(model, model, EXAMPLES)


def test_head_is_checked_once_a_scorer() -> None:
    model, forwards = tiny.llama(), []
    model.register_forward_pre_hook(lambda *_: forwards.append(1))  # scoring takes the backbone
    score = scorer()
    score(model, model, EXAMPLES)
    score(model, model, EXAMPLES)
    assert len(forwards) == 1


# Sharded weights: every rank runs as many forwards as the busiest


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **kwargs: Any) -> Any:
        return self.module(**kwargs)


def test_wrapped_model_is_used_only_where_forwards_need_other_ranks() -> None:
    model = tiny.llama()
    wrapped = Wrapper(model)
    forwards = count_forwards(wrapped)
    scorer()(model, wrapped, EXAMPLES)
    assert forwards == []
    scorer(highest=lambda own: own, overhead=20)(model, wrapped, EXAMPLES)
    assert forwards == [2, 5]


def test_rank_with_fewer_batches_runs_as_many_forwards_as_the_busiest() -> None:
    model = tiny.llama()
    wrapped, asked = Wrapper(model), []
    forwards = count_forwards(wrapped)
    busiest = scorer(highest=lambda own: asked.append(own) or 4, overhead=20)
    scores = busiest(model, wrapped, EXAMPLES)
    assert asked == [2]
    assert forwards == [2, 5, 5, 5]  # the rest on the batch of the shortest
    assert_same(scores, one_by_one(model.eval()))


def test_ranks_agree_on_the_number_of_forwards_before_the_first() -> None:
    # Afterwards a rank that is done would wait for the number, and the others for its shards.
    model = tiny.llama()
    wrapped, before = Wrapper(model), []
    forwards = count_forwards(wrapped)
    scorer(highest=lambda own: before.append(len(forwards)) or own, overhead=20)(
        model, wrapped, EXAMPLES
    )
    assert before == [0]
    assert len(forwards) == 2


def test_rank_with_nothing_to_score_runs_as_many_forwards_as_the_busiest() -> None:
    model = tiny.llama()
    wrapped = Wrapper(model)
    forwards = count_forwards(wrapped)
    assert scorer(highest=lambda own: 2)(model, wrapped, []) == []
    assert forwards == [1, 1]
    assert scorer(highest=lambda own: 0)(model, wrapped, []) == []
    assert forwards == [1, 1]
