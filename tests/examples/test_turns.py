"""Turns as units: marks of tokens, spans of turns, and how both are told of tokens alone."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtuning.core.stats import IGNORE_INDEX
from qtuning.errors import UsageError
from qtuning.examples.example import TURN, answer_positions
from qtuning.examples.spans import SpanError, message_spans, turn_spans
from qtuning.examples.templates import RENDERING
from qtuning.examples.turn_columns import TurnMarks
from qtuning.examples.turns import KINDS, NO_TURN, Turn, kind_of, mark, take_turns

from .. import turned
from ..talks import answer, call, result, user
from .test_spans import REWRITES, SHIPPED, ids_of, text_of
from .test_spans import tokenizer as of_characters

TALK = [user("q"), answer("one"), answer("two"), user("r"), {**answer("s"), "thinking": "hm"}]


def test_kinds_of_messages() -> None:
    assert kind_of(answer("a")) == "answer"
    assert kind_of(call("f")) == "call"
    assert kind_of({**call("f"), "reasoning_content": "hm"}) == "thoughts+call"
    assert kind_of({**answer("a"), "reasoning": "hm"}) == "thoughts+answer"
    assert kind_of(answer("<think>hm</think>a")) == "thoughts+answer"
    assert kind_of({**answer("a"), "reasoning_content": None, "tool_calls": None}) == "answer"


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(KINDS), st.integers(1, 4)), min_size=1),
    st.integers(0, 2**32),
)
def test_turns_are_read_as_they_were_marked(turns, seed) -> None:
    draw = random.Random(seed)
    marks, labels, expected = [NO_TURN], [IGNORE_INDEX], []
    for number, (own, kind, n) in enumerate(turns):
        gap = draw.randrange(3)
        marks += [NO_TURN] * gap + [mark(41 * number + own, kind)] * n
        labels += [IGNORE_INDEX] * gap + [7] * n
        expected.append(Turn(41 * number + own, kind, n))
    example = {"input_ids": [7] * len(marks), "labels": labels, TURN: marks}
    rest, found = take_turns(example, answer_positions(labels))
    assert list(found) == expected
    assert TURN not in rest


@given(st.lists(st.booleans(), min_size=2))
def test_runs_of_answer_tokens_are_turns_where_nothing_else_is_known(bits) -> None:
    labels = [7 if bit else IGNORE_INDEX for bit in bits]
    _, found = take_turns({"input_ids": bits, "labels": labels}, answer_positions(labels))
    runs = "".join("x" if bit else " " for bit in [False, *bits[1:]]).split()
    assert [turn.n_tokens for turn in found] == [len(run) for run in runs]
    assert [turn.number for turn in found] == list(range(1, len(runs) + 1))
    assert {turn.kind for turn in found} <= {"turn"}


def test_blocks_of_a_template_keep_neighbouring_turns_apart() -> None:
    tokenizer = turned.tokenizer()
    ids = ids_of(turned.TEMPLATE, TALK, tokenizer)
    spans = turn_spans({"messages": TALK}, ids, tokenizer, turned.TEMPLATE)
    parts = [tokenizer.convert_ids_to_tokens(ids[span.start : span.stop]) for span in spans]
    texts = list(map("".join, parts))
    assert texts == ["one<e>", "two<e>", "(hm) s<e>"]


def test_without_blocks_turns_are_what_messages_add() -> None:
    talk = [user("q"), {**call("f", a=1), "content": ""}, result("5"), answer("five")]
    template = turned.TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    tokenizer = turned.tokenizer(template)
    ids = ids_of(template, talk, tokenizer)
    spans = turn_spans({"messages": talk}, ids, tokenizer, template)
    every = message_spans({"messages": talk}, ids, tokenizer, template)
    assert spans == [every[1], every[3]]


def test_a_rewriting_template_and_other_tokens_are_refused() -> None:
    talk = [user("a"), answer("b"), user("c"), answer("d")]
    tokenizer = turned.tokenizer(REWRITES)
    with pytest.raises(SpanError, match="message 2 otherwise when messages follow"):
        turn_spans({"messages": talk}, ids_of(REWRITES, talk, tokenizer), tokenizer, REWRITES)
    tokenizer = turned.tokenizer()
    with pytest.raises(SpanError, match="not those of the text"):
        turn_spans({"messages": TALK}, [5, 6], tokenizer, turned.TEMPLATE)


def test_labels_elsewhere_make_one_unit_of_a_conversation() -> None:
    """Where a mark ends in a space, transformers takes all that follows for the assistant's."""
    tokenizer = turned.tokenizer()
    ids = ids_of(turned.TEMPLATE, TALK, tokenizer)
    marks = TurnMarks("the data", tokenizer, turned.TEMPLATE, assistant_only=True, tells=True)
    row = {"messages": TALK, "input_ids": ids, "labels": ids}
    made = marks(row, 0)
    assert made[TURN] == [mark(0, "conversation")] * len(ids)
    assert made["qtuning_turn_why"] == "other tokens are trained than the assistant's"
    split = {"prompt": TALK[:1], "completion": TALK[1:], "input_ids": ids, "labels": ids}
    with pytest.raises(UsageError, match=r"the data, row 3: .* other roles .* assistant_only_loss"):
        replace(marks, assistant_only=False)(split, 2)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_templates_give_each_turn_its_own_text_or_say_why_not(path) -> None:
    """A turn's tokens hold its own words, and no other turn's."""
    template = path.read_text(encoding="utf-8")
    talk = [user("ask 1"), answer("told 2"), user("ask 3"), answer("told 4")]
    tokenizer = of_characters()
    tokenizer.chat_template, tokenizer.bos_token = template, "<u>"
    try:
        ids = ids_of(template, talk, tokenizer)
        spans = turn_spans({"messages": talk}, ids, tokenizer, template)
    except (SpanError, *RENDERING) as why:
        pytest.skip(str(why))
    if text_of(ids).count("told") != 2:
        pytest.skip("it is for messages of parts")
    texts = [text_of(ids[span.start : span.stop]) for span in spans]
    assert [text.count("told") for text in texts] == [1, 1]
    assert "2" in texts[0]
    assert "4" in texts[1]
    assert not any("ask" in text for text in texts)
    assert torch.tensor([len(span) for span in spans]).min() > 0
