"""Parts that a chat template marks, and the messages that they are of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtuning.examples.blocks import block_owners
from qtuning.examples.spans import turn_spans
from qtuning.examples.templates import RENDERING, blocks_of

from ..talks import answer, call, result, user
from .test_spans import SHIPPED, ids_of, text_of, tokenizer

PARTS = (
    "{% for m in messages %}<u>{{ m['role'] }} {% if m['role'] == 'assistant' %}"
    "{% if m['thinking'] %}{% generation %}({{ m['thinking'] }}){% endgeneration %}{% endif %} "
    "{% if m['tool_calls'] %}call {{ m['tool_calls'][0]['function']['name'] }}<e>"
    "{% else %}{% generation %}{{ m['content'] }}<e>{% endgeneration %}{% endif %}"
    "{% else %}{{ m['content'] | upper }}<e>{% endif %}{% endfor %}"
)
"""Marks thoughts by themselves, and calls not at all; prints what others say otherwise."""
CLOSED = PARTS.replace(" | upper", "") + "{% generation %}<eos>{% endgeneration %}"
"""As Phi-3's: the end of the text is marked as well."""


def thinking(text):
    return {**answer(text), "thinking": f"hm {text}"}


def owners_of(row, using, template):
    return block_owners(row, *blocks_of(row, using, template), using, template)


def naive(messages, *, closed):
    """The owners of the parts, by the template's own rules."""
    owners = []
    for place, one in enumerate(messages):
        if one["role"] == "assistant":
            owners += [place] * bool(one.get("thinking"))
            owners += [place] * (not one.get("tool_calls"))
    return owners + [place] * closed


SAID = st.sampled_from([answer("told"), thinking("thought"), call("f")])
TURNS = st.lists(st.tuples(st.sampled_from([user("ask"), result("got")]), SAID), min_size=1)


@given(talk=TURNS.map(lambda pairs: [one for pair in pairs for one in pair]))
def test_each_part_is_of_the_message_that_wrote_it(talk) -> None:
    using = tokenizer()
    template = CLOSED
    expected = naive(talk, closed=True)
    assert len(blocks_of({"messages": talk}, using, template)[1]) == len(expected)
    assert owners_of({"messages": talk}, using, template) == expected


def test_as_many_parts_as_messages_are_not_taken_for_one_each() -> None:
    talk = [user("q"), call("f"), result("5"), thinking("five")]
    using, template = tokenizer(), CLOSED.replace("{% generation %}<eos>{% endgeneration %}", "")
    assert len(blocks_of({"messages": talk}, using, template)[1]) == 2
    assert owners_of({"messages": talk}, using, template) == [3, 3]
    ids = ids_of(template, talk, using)
    empty, whole = turn_spans({"messages": talk}, ids, using, template)
    assert len(empty) == 0
    assert text_of(ids[whole.start : whole.stop]) == "(hm five) five<e>"


def test_answers_in_a_row_have_one_part_each_or_are_in_doubt() -> None:
    using = tokenizer()
    row = {"messages": [user("q"), answer("a"), answer("b"), user("r"), thinking("c")]}
    assert owners_of(row, using, CLOSED) == [1, 2, 4, 4, 4]
    row = {"messages": [user("q"), answer("a"), thinking("b"), user("r"), answer("c")]}
    assert owners_of(row, using, CLOSED) == []


def test_what_is_not_printed_as_it_is_leaves_doubt() -> None:
    using = tokenizer()
    row = {"messages": [user("q"), answer("a"), user("r"), thinking("b")]}
    assert owners_of(row, using, PARTS) == []
    assert owners_of(row, using, PARTS.replace(" | upper", "")) == [1, 3, 3]


MARKED = [path for path in SHIPPED if "endgeneration" in path.read_text(encoding="utf-8")]


def printed(template, talk, using):
    """The tokens of a conversation; None if the template is for contents of another kind."""
    try:
        ids = ids_of(template, talk, using)
    except RENDERING:
        return None
    return ids if "told 4" in text_of(ids) else None


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.stem)
def test_every_shipped_template_with_marks_tells_turns_apart(path) -> None:
    """Also those that mark several parts of a message, and those that rewrite earlier turns."""
    template = path.read_text(encoding="utf-8")
    using = tokenizer()
    using.chat_template = template
    thoughts = [{**answer(f"told {n}"), "reasoning_content": f"hm {n}"} for n in (2, 4)]
    for own in ([answer("told 2"), answer("told 4")], thoughts):
        talk = [user("ask 1"), own[0], user("ask 3"), own[1]]
        ids = printed(template, talk, using)
        if ids is None:
            talk = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in talk]
            ids = printed(template, talk, using)
        assert ids is not None
        spans = turn_spans({"messages": talk}, ids, using, template)
        texts = [text_of(ids[span.start : span.stop]) for span in spans]
        assert [["told 2" in text, "told 4" in text, "ask" in text] for text in texts] == [
            [True, False, False],
            [False, True, False],
        ]
