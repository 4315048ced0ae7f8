"""Every finding, in rows in which it occurs, and not in rows in which it does not."""

from typing import Any, NamedTuple

import pytest

from .. import tiny
from .made import finding, pair, talk, tokens

GOOD = [pair(f"{i} + 1 =", f" {i} and one") for i in range(3)]
TALKS = [talk(f"Question {i}?", f"Answer {i}.") for i in range(3)]
PAIRS = [{"prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in TALKS]
IDS = tokens([5, 6, 7, 1], [-100, -100, 7, 1])


class Case(NamedTuple):
    """Rows in which something is found, and others.

    Attributes:
        name: The finding's name.
        level: Its level.
        model: The fixture of the model.
        bad: Rows in which it is found.
        rows: Their numbers; empty if it is about no row.
        good: Rows in which it is not found.
        options: Options of training.
        other: Options for the rows in which it is not found, if others.
    """

    name: str
    level: str
    model: str
    bad: list[Any]
    rows: tuple[int, ...]
    good: list[Any]
    options: dict[str, Any] = {}  # noqa: RUF012
    other: dict[str, Any] | None = None


MANY = [pair(f"{i} + 1 =", f" {i} and one") for i in range(120)]
SHORT = {"max_length": 30}
CASES = [
    Case("labels-masked", "error", "plain", [IDS, tokens([5, 6], [-100, -100])], (2,), [IDS]),
    # The first token is never predicted.
    Case("labels-masked", "error", "plain", [IDS, tokens([5, 6], [5, -100])], (2,), [IDS]),
    Case("answers-lost", "error", "plain", [GOOD[0], pair("x" * 30, "y")], (2,), GOOD, SHORT),
    Case("answers-cut", "warning", "plain", [GOOD[0], pair("a =", " b" * 30)], (2,), GOOD, SHORT),
    Case(
        *("prompts-cut", "note", "plain", [GOOD[0], pair("x" * 40, " yes")], (2,), GOOD),
        {**SHORT, "truncation_mode": "keep_end"},
    ),
    Case("nothing-trained", "error", "plain", [pair("x" * 30, "y")], (), GOOD, SHORT),
    Case("answers-empty", "warning", "plain", [GOOD[0], pair("a =", "")], (2,), GOOD),
    Case("answers-of-one-token", "note", "plain", [GOOD[0], pair("a =", "b")], (2,), GOOD),
    Case(
        *("end-never-trained", "error", "plain", [tokens([5, 6, 7], [-100, 6, 7])], (1,)),
        [tokens([5, 6, 7], [-100, 6, 7]), IDS],
    ),
    Case(
        *("end-missing", "warning", "plain", [IDS, tokens([5, 6, 7], [-100, 6, 7])], (2,)),
        [IDS],
    ),
    Case(
        *("earlier-ends-missing", "warning", "plain"),
        [tokens([5, 6, 5, 5, 6, 1], [-100, 6, -100, -100, 6, 1])],
        (1,),
        [tokens([5, 6, 1, 5, 6, 1], [-100, 6, 1, -100, 6, 1])],
    ),
    Case("end-not-stop", "warning", "chat", TALKS, (1, 2, 3), GOOD),
    Case("end-not-stop", "warning", "chat", TALKS, (1, 2, 3), TALKS, {}, {"eos_token": "<e>"}),
    Case("end-doubled", "warning", "plain", [GOOD[0], pair("a", " b<eos><eos>")], (2,), GOOD),
    Case("bos-doubled", "warning", "bos", [GOOD[0], pair("<u><u>a", " b")], (2,), GOOD),
    Case("rows-repeated", "warning", "plain", [*GOOD, GOOD[1]], (4,), GOOD),
    Case("rows-repeated", "note", "plain", [*MANY, MANY[7]], (121,), MANY),
    Case(
        *("prompts-with-other-answers", "note", "plain"),
        *([*GOOD, GOOD[1], pair("1 + 1 =", " 2")], (5,), [*GOOD, GOOD[1]]),
    ),
    Case(
        *("prompts-with-other-answers", "note", "chat"),
        *([talk("Hi", "Ho"), talk("Hi", "He")], (2,), [talk("Hi", "Ho"), talk("He", "Ho")]),
    ),
    Case(
        *("special-tokens-in-text", "warning", "chat", [*TALKS, talk("<e>", "no")], (4,)),
        [*TALKS, talk("<a> e>", "no")],
    ),
    Case("special-tokens-in-text", "note", "plain", [{"text": "a<u>b"}], (1,), [{"text": "ab"}]),
    Case("unanswered", "warning", "chat", [*TALKS, talk("a", "b", "c")], (4,), TALKS),
    Case("answers-joined", "warning", "plain", [*GOOD, pair("Why?", "So")], (4,), GOOD),
    Case("template-not-used", "warning", "chat", GOOD, (1, 2, 3), TALKS),
    Case("template-not-used", "warning", "chat", GOOD, (1, 2, 3), [{"text": "<u>user a<e>"}]),
    Case("turns-not-written", "error", "deaf", [*TALKS, talk("a", "b", system="c")], (4,), TALKS),
    Case(
        *("system-added", "note", "polite", [talk("a", "b", system="c"), *TALKS], (2, 3, 4)),
        [talk("a", "b", system="c")],
    ),
    Case("others-trained", "warning", "calls", TALKS, (), PAIRS),
    Case(
        *("others-trained", "warning", "calls", TALKS, (), TALKS),
        *({}, {"assistant_only_loss": True}),
    ),
    Case("ids-beyond-embeddings", "error", "small", [IDS, tokens([5, 99], [5, 99])], (2,), [IDS]),
    Case("markers-split", "warning", "split", TALKS, (), GOOD),
    Case("padding-is-end", "note", "plain", GOOD, (), GOOD, {"pad_token": "<eos>"}, {}),
    Case("much-padding", "note", "plain", [*GOOD, pair("a", " b" * 99)], (), GOOD),
    Case(
        *("packing-not-full", "note", "plain", GOOD[:2], (), GOOD * 9),
        {"packing": True, "max_length": 64},
    ),
    Case(
        *("other-scripts", "note", "plain", [*GOOD * 7, pair("Привет, как дела", "ok")], (22,)),
        [*GOOD * 7, pair("Cześć", "ok")],
    ),
]


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A model with fewer embeddings than its tokenizer has tokens."""
    return tiny.save_model(tmp_path_factory.mktemp("small"), vocab_size=90)


def _with_template(folder, template: str):
    tiny.llama().save_pretrained(folder)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def deaf(tmp_path_factory):
    """A model whose template leaves systems out."""
    template = (
        "{% for m in messages if m['role'] != 'system' %}<u>{{ m['role'] }} {{ m['content'] }}"
        "<e>{% endfor %}{% if add_generation_prompt %}<u>assistant {% endif %}"
    )
    return _with_template(tmp_path_factory.mktemp("deaf"), template)


@pytest.fixture(scope="session")
def polite(tmp_path_factory):
    """A model whose template adds a system turn where there is none."""
    added = "{% if messages[0]['role'] != 'system' %}<u>system Be polite.<e>{% endif %}"
    return _with_template(tmp_path_factory.mktemp("polite"), added + tiny.CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def split(tmp_path_factory):
    """A model whose template has markers that its tokenizer does not know."""
    template = tiny.CHAT_TEMPLATE.replace("<u>", "<|u|>")
    return _with_template(tmp_path_factory.mktemp("split"), template)


@pytest.fixture(scope="session")
def bos(tmp_path_factory):
    """A model with a token that begins texts."""
    folder = tmp_path_factory.mktemp("bos")
    tiny.llama().save_pretrained(folder)
    tokenizer = tiny.tokenizer()
    tokenizer.bos_token = "<u>"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_found(look, request, case) -> None:
    folder = request.getfixturevalue(case.model)
    found = finding(look(case.bad, folder, **case.options), case.name)
    assert found is not None
    assert (found.level, found.rows) == (case.level, case.rows)
    assert found.what
    assert found.advice
    if case.rows:
        assert found.count == len(case.rows)
    options = case.options if case.other is None else case.other
    assert finding(look(case.good, folder, **options), case.name) is None


def test_good_rows_have_no_finding(look, plain) -> None:
    assert look(GOOD, plain).findings == ()


def test_no_more_than_five_rows_are_named(look, plain) -> None:
    found = finding(look([GOOD[0]] * 9, plain), "rows-repeated")
    assert found is not None
    assert (found.count, found.rows) == (8, (2, 3, 4, 5, 6))
