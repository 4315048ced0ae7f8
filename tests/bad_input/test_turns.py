"""Turns that cannot be told apart, and marks that go wrong: one line each with the row."""

import json

import pytest
from tokenizers import Regex, pre_tokenizers

from qtuning.examples.masked_prompts import TRL_MASKS_OTHERS

from .. import tiny, turned
from ..examples.test_assistant_masks import looked_up
from ..talks import answer, call, result, user

TALK = [user("a"), answer("b"), user("c"), answer("d")]
CALLS = turned.TEMPLATE.replace(
    "{{ m['content'] }}{% for", "{{ m['content'] or raise_exception('no content') }}{% for"
)
"""Raises for a call of a tool, which has no content."""
LINES = turned.TEMPLATE.replace("<e>{% endgeneration %}", "<e>\n{% endgeneration %}")
"""The line end behind an answer is marked as well."""


@pytest.fixture
def refused(refuses_to_train, tmp_path):
    """What the command says of conversations under a template."""

    def run(template, rows, **options):
        folder = tmp_path / "model"
        tiny.llama().save_pretrained(folder)
        tokenizer = tiny.tokenizer()
        parts = [
            pre_tokenizers.Split("\n", "removed"),
            pre_tokenizers.Split(Regex("."), "isolated"),
        ]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        data = tmp_path / "data.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return refuses_to_train(model_name_or_path=folder, dataset_name=data, **options)

    return run


@pytest.mark.skipif(TRL_MASKS_OTHERS, reason="prompts and completions come as tokens there")
def test_a_template_that_rewrites_earlier_turns(refused) -> None:
    one, many = ({"prompt": TALK[:n], "completion": TALK[n:]} for n in (3, 1))
    said = refused(turned.REWRITES, [one, many, many], prune_unit="turn")
    assert "row 2: its turns cannot be told apart, nor those of any other row" in said
    assert "writes message 2 otherwise when messages follow" in said


def test_a_turn_that_the_template_does_not_write(refused) -> None:
    rows = [{"messages": TALK}, {"messages": [user("q"), call("f"), result("5"), answer("5")]}]
    said = refused(CALLS, rows, prune_unit="turn", assistant_only_loss=True)
    assert "row 2" in said


def test_questions_that_would_be_trained(refused) -> None:
    said = refused(turned.TEMPLATE, [{"messages": TALK}], prune_unit="turn")
    assert "row 1: prune_unit turn: all turns are trained" in said


@looked_up
@pytest.mark.parametrize("unit", ["sample", "turn"])
def test_marks_that_end_in_white_space_of_no_token(refused, unit) -> None:
    rows = [{"messages": TALK[:2]}, {"messages": TALK}]
    said = refused(LINES, rows, prune_unit=unit, assistant_only_loss=True)
    assert "row 2: a part that the chat template marks as the assistant's" in said
