"""Exact match of generated answers: the harness's definition, without the harness."""

import pytest
import torch
from datasets import Dataset

from qtuning.errors import UsageError
from qtuning.evaluation.answers import answer_in, answer_rules, expected_answer, same_answer
from qtuning.evaluation.exact_match import exact_match
from qtuning.evaluation.generation import generate

from .. import runs, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
QUESTIONS = [
    {"id": "a", "prompt": "1 + 1 =", "completion": " 2 #### 2", "meta": {}},
    {"id": "b", "prompt": "1 + 1 + 1 + 1 =", "completion": " 4 #### 4", "meta": {"answer": 4}},
    {"id": "c", "prompt": "3 + 4 =", "completion": " seven", "meta": {"answer": "7"}},
]
TEXTS = [
    "2 + 2 = 4\n#### 4",
    "#### -1,234.50 apples",
    "it costs $5.",
    "no number",
    "a 3 and b 17",
    "#### .",
    "",
]


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        (TEXTS[0], "4", "4"),
        (TEXTS[1], "-1,234.50", "-1,234.50"),
        (TEXTS[2], "[invalid]", "$5."),
        (TEXTS[3], "[invalid]", "[invalid]"),
        (TEXTS[4], "[invalid]", "17"),
        (TEXTS[5], ".", "[invalid]"),
        (TEXTS[6], "[invalid]", "[invalid]"),
    ],
)
def test_an_answer_is_the_number_behind_the_marker_or_the_last_one(text, strict, flexible):
    assert answer_in(text, "strict-match") == strict
    assert answer_in(text, "flexible-extract") == flexible


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("1,234", "1234", True), ("$5.", "5", True), ("5.0", "5", False), ("[invalid]", "5", False)],
)
def test_answers_are_the_same_but_for_commas_dollars_and_a_full_stop(one, other, same):
    assert same_answer(one, other) == same


def test_the_definition_is_that_of_the_harness():
    extraction = pytest.importorskip("lm_eval.filters.extraction")
    for name, (pattern, which) in answer_rules().filters.items():
        theirs = extraction.RegexFilter(pattern.pattern, which).apply([TEXTS], [{}])
        assert [answer_in(text, name) for text in TEXTS] == next(iter(theirs))


@pytest.mark.parametrize(("row", "answer"), zip(QUESTIONS, ["2", "4", "7"], strict=True))
def test_the_right_answer_is_the_rows_or_what_its_completion_ends_with(row, answer):
    assert expected_answer(row) == answer


@pytest.mark.parametrize("meta", [{}, {"answer": "yes"}])
def test_a_row_without_a_number_is_named(meta):
    row = {"id": "d", "prompt": "well?", "completion": "yes", "meta": meta}
    with pytest.raises(UsageError, match="exact_match: row d has no number as its answer: give it"):
        exact_match(tiny.llama(), tiny.tokenizer(), [row])
    with pytest.raises(UsageError, match="no held-out row to ask; name held_out"):
        exact_match(tiny.llama(), tiny.tokenizer(), [])


def greedy(model, tokenizer, prompt, n):
    """The most likely token each time, one prompt by itself, without a cache."""
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    for _ in range(n):
        with torch.no_grad():
            ids.append(int(model.eval()(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_generation_is_greedy_whatever_shares_its_batch(batch_size):
    model, tokenizer = tiny.llama(), tiny.tokenizer()
    model.generation_config.do_sample = True  # the model's own settings do not count
    model.train()
    prompts = ["1 + 1 =", "a much longer prompt than the others", "x", "12 + 30 ="]
    made = generate(model, tokenizer, prompts, max_new_tokens=12, batch_size=batch_size)
    assert model.training, "as it was"
    assert made == [greedy(model, tokenizer, prompt, 12) for prompt in prompts]
    assert len(set(made)) == len(prompts)


def test_a_text_ends_where_a_stop_begins():
    model, tokenizer = tiny.llama(), tiny.tokenizer()
    (whole,) = generate(model, tokenizer, ["1 + 1 ="], max_new_tokens=12)
    stop = whole[4:6]
    made = generate(model, tokenizer, ["1 + 1 =", "x"], max_new_tokens=12, stops=[stop])
    assert made[0] == whole.partition(stop)[0]
    assert len(made[0]) <= 4


@pytest.mark.parametrize(
    ("prompt", "n", "said"),
    [("", 4, "without tokens"), ("1", 256, "leaves no room for 256 more in a model of 256")],
)
def test_prompts_that_cannot_be_continued(prompt, n, said):
    with pytest.raises(UsageError, match=said):
        generate(tiny.llama(), tiny.tokenizer(), [prompt], max_new_tokens=n)


def test_what_a_model_has_learnt_is_a_hit_and_all_else_a_miss(tmp_path):
    taught = [{**row, "meta": None} for row in QUESTIONS[:2]]
    rows = [{name: row[name] for name in ("id", "prompt", "completion")} for row in taught * 4]
    trainer = runs.pruning(
        tmp_path,
        data=Dataset.from_list([{**row, "id": str(i)} for i, row in enumerate(rows)]),
        model=tiny.llama(),
        sample_pruner="full",
        token_pruner="none",
        num_train_epochs=60,
        learning_rate=5e-3,
    )
    trainer.train()
    how = {"max_new_tokens": 16, "batch_size": 2}
    strict, flexible = exact_match(trainer.model, trainer.processing_class, QUESTIONS, **how)
    assert (strict.filter, flexible.filter) == ("strict-match", "flexible-extract")
    # The tiny tokenizer puts a space between any two tokens, so that no text has the marker.
    assert strict.hits == (0.0, 0.0, 0.0)
    assert flexible.hits[:2] == (1.0, 1.0)
    assert flexible.n == 3
    assert flexible.value == pytest.approx(sum(flexible.hits) / 3)
    (_, one) = exact_match(trainer.model, trainer.processing_class, QUESTIONS, questions=1, **how)
    assert (one.n, one.hits, one.stderr) == (1, (1.0,), None)
