"""What stands in for TRL's own masks of prompts, where these are wrong, makes the same tokens."""

from typing import Any

import pytest
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from qtuning.examples.masked_prompts import (
    TRL_MASKS_OTHERS,
    is_prompt_of_turns,
    with_masked_prompts,
)

from .. import device, talks, tiny
from ..talks import answer, user

ROWS = [
    {"prompt": [user("1 + 2?")], "completion": [answer("3.")]},
    {"prompt": [user("Hi"), answer("Ho"), user("So?")], "completion": [answer(""), user("No")]},
]


def tokenizer() -> Any:
    made = tiny.tokenizer()
    made.chat_template = talks.TEMPLATE
    return made


def test_which_rows_have_prompts_of_turns() -> None:
    assert is_prompt_of_turns(Dataset.from_list(ROWS))
    for other in ([{"prompt": "a", "completion": "b"}], [{"messages": [user("a")]}], []):
        assert not is_prompt_of_turns(Dataset.from_list(other))


@pytest.mark.skipif(TRL_MASKS_OTHERS, reason="this version of TRL masks other tokens")
@pytest.mark.parametrize("only", [True, False])
def test_tokens_and_labels_are_those_of_trl(tmp_path, only) -> None:
    rows = Dataset.from_list(ROWS)
    args = SFTConfig(
        str(tmp_path),
        completion_only_loss=only,
        report_to="none",
        bf16=False,
        **device.arguments(),
    )
    trainer = SFTTrainer(tiny.llama(), args, train_dataset=rows, processing_class=tokenizer())
    theirs = list(trainer.train_dataset)
    ours = list(with_masked_prompts(rows, tokenizer(), talks.TEMPLATE, completion_only=only))
    for one, other in zip(ours, theirs, strict=True):
        assert one == {key: other[key] for key in one}
        assert set(one) == {"input_ids", "labels"}


def test_a_prompt_is_masked_and_its_answer_is_not() -> None:
    made = with_masked_prompts(
        Dataset.from_list(ROWS), tokenizer(), talks.TEMPLATE, completion_only=True
    )
    said = [tokenizer().decode([y for y in row["labels"] if y != -100]) for row in made]
    assert [one.replace(" ", "") for one in said] == ["3.<e>", "<e><u>userNo<e>"]
