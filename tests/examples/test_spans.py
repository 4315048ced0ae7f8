"""Spans of messages, against tokens of conversations that end at each message."""

from itertools import pairwise
from pathlib import Path

import pytest
import trl
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from qtuning.examples.spans import SpanError, message_ends, message_spans
from qtuning.examples.templates import RENDERING

from .. import talks, tiny
from ..talks import answer, call, result, user

TALKS = {
    "plain": [user("q"), answer("a"), user("r"), answer("bb")],
    "system": [{"role": "system", "content": "s"}, user("q"), answer("a")],
    "adjacent": [user("q"), answer("a"), answer("bb"), user("r"), answer("")],
    "tools": [user("q"), {**call("f", a=1), "content": ""}, result("5"), answer("five")],
    "thoughts": [
        user("q"),
        {**answer("a"), "reasoning_content": "hm"},
        user("r"),
        {**answer("b"), "reasoning_content": "hm"},
    ],
}
REWRITES = (
    "{% for m in messages %}<u>{{ m['role'] }} "
    "{% if loop.last and m['role'] == 'assistant' %}<think></think>{% endif %}"
    "{{ m['content'] }}<e>{% endfor %}"
)
"""As Qwen3's: what an answer begins with depends on whether it is the last one."""
ALTERNATES = (
    "{% if messages | length % 2 %}{{ raise_exception('an answer is missing') }}{% endif %}"
    + tiny.CHAT_TEMPLATE
)
FOLDER = Path(trl.__file__).parent / "chat_templates"
SHIPPED = sorted(FOLDER.glob("*.jinja")) if FOLDER.is_dir() else []


def tokenizer(pattern=r"[\s\S]"):
    """A tokenizer of one token a character, line ends as well."""
    made = tiny.tokenizer()
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    return made


TOKENIZER = tokenizer()


def ids_of(template, messages, using=TOKENIZER, **more):
    text = using.apply_chat_template(messages, chat_template=template, tokenize=False, **more)
    return using(text, add_special_tokens=False)["input_ids"]


def text_of(ids):
    return "".join(TOKENIZER.convert_ids_to_tokens(list(ids)))


def naive(template, messages, **more):
    """The spans by tokens of ever longer conversations; None if one does not begin the next."""
    ids = ids_of(template, messages, **more)
    ends = [0]
    for n in range(1, len(messages)):
        try:
            part = ids_of(template, messages[:n], **more)
        except RENDERING:
            return None
        if ids[: len(part)] != part or len(part) < ends[-1]:
            return None
        ends.append(len(part))
    return [range(*pair) for pair in pairwise([*ends, len(ids)])]


@given(talk=talks.talks())
def test_spans_are_what_each_message_adds(talk) -> None:
    messages, tools = talk
    ids = ids_of(talks.TEMPLATE, messages, tools=tools or None)
    row = {"messages": messages, "tools": tools}
    spans = message_spans(row, ids, TOKENIZER, talks.TEMPLATE)
    assert spans == naive(talks.TEMPLATE, messages, tools=tools or None)
    assert [place for span in spans for place in span] == list(range(len(ids)))
    texts = [text_of(ids[place] for place in span) for span in spans]
    for text, message in zip(texts, messages, strict=True):
        said = f"<u>{message['role']} {message['content'] or ''}"
        assert said in text.replace("None", "")
        assert text.endswith("<e>")
    split = {"prompt": messages[:1], "completion": messages[1:], "tools": tools}
    assert message_spans(split, ids, TOKENIZER, talks.TEMPLATE) == spans


@pytest.mark.skipif(not SHIPPED, reason="older TRL has no templates of others")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_templates_of_real_models_are_told_apart_or_refused(path) -> None:
    template = path.read_text(encoding="utf-8")
    for messages in TALKS.values():
        try:
            ids = ids_of(template, messages)
        except RENDERING:  # not made for such a conversation
            continue
        expected = naive(template, messages)
        if expected is None:
            with pytest.raises(SpanError):
                message_spans({"messages": messages}, ids, TOKENIZER, template)
        else:
            assert message_spans({"messages": messages}, ids, TOKENIZER, template) == expected


def test_a_template_that_rewrites_earlier_turns_is_refused_where_it_matters() -> None:
    messages = TALKS["plain"]
    ids = ids_of(REWRITES, messages)
    row = {"messages": messages}
    with pytest.raises(SpanError, match="writes message 2 otherwise when messages follow it"):
        message_ends(row, ids, TOKENIZER, REWRITES, {1, 2})
    ends = message_ends(row, ids, TOKENIZER, REWRITES, {1, 3})
    assert text_of(ids[ends[3] :]) == "<u>assistant <think></think>bb<e>"
    assert text_of(ids[: ends[1]]) == "<u>user q<e>"


def test_a_template_that_raises_for_a_part_is_refused_where_it_matters() -> None:
    messages = TALKS["plain"]
    ids = ids_of(ALTERNATES, messages)
    with pytest.raises(SpanError, match=r"it up to message 1 alone \(an answer is missing\)"):
        message_spans({"messages": messages}, ids, TOKENIZER, ALTERNATES)
    assert message_ends({"messages": messages}, ids, TOKENIZER, ALTERNATES, {2}) == {2: 21}


def test_tokens_of_another_text_are_refused() -> None:
    messages = TALKS["plain"]
    ids = ids_of(tiny.CHAT_TEMPLATE, messages)
    for other in (ids[:-1], [*ids, 1], [ids[0] + 1, *ids[1:]]):
        with pytest.raises(SpanError, match="are not those of the text"):
            message_spans({"messages": messages}, other, TOKENIZER, tiny.CHAT_TEMPLATE)
    with pytest.raises(SpanError, match="no conversation"):
        message_spans({"prompt": "a"}, ids, TOKENIZER, tiny.CHAT_TEMPLATE)


class Slow(PreTrainedTokenizerFast):
    """A tokenizer that does not say where its tokens stand."""

    is_fast = False


@pytest.mark.parametrize("slow", [False, True])
def test_tokens_that_reach_over_two_messages_are_refused(slow) -> None:
    template = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }};{% endfor %}"
    pairs = tokenizer(r"[\s\S]{1,2}")
    pairs.backend_tokenizer.add_tokens(["us", "er", ":q", ";a", "ss", "is", "ta", "nt", ":a", ";"])
    using = Slow(tokenizer_object=pairs.backend_tokenizer) if slow else pairs
    odd = [user("q"), answer("a")]  # "user:q;" has seven letters
    with pytest.raises(SpanError, match="reaches over the end of message 1"):
        message_spans({"messages": odd}, ids_of(template, odd, using), using, template)
    plain = Slow(tokenizer_object=TOKENIZER.backend_tokenizer) if slow else TOKENIZER
    spans = message_spans({"messages": odd}, ids_of(template, odd, plain), plain, template)
    assert spans == [range(7), range(7, 19)]


@given(st.integers(0, 3), st.data())
def test_ends_that_are_wanted_are_those_of_all_spans(n, data) -> None:
    messages = TALKS["plain"]
    wanted = data.draw(st.sets(st.integers(1, 3), max_size=n))
    ids = ids_of(talks.TEMPLATE, messages)
    ends = message_ends({"messages": messages}, ids, TOKENIZER, talks.TEMPLATE, wanted)
    spans = message_spans({"messages": messages}, ids, TOKENIZER, talks.TEMPLATE)
    assert ends == {number: spans[number - 1].stop for number in wanted}
