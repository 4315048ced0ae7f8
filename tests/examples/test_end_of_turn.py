"""Every id that ends a turn is found, wherever it is written down."""

import pytest
from tokenizers import AddedToken
from transformers import GenerationConfig, PreTrainedTokenizerFast

from qtuning.examples.end_of_turn import end_of_turn_ids

from .. import tiny, vision

EOS, END = 1, 3


def ids(model, processing_class) -> list[int]:
    return end_of_turn_ids(model, processing_class).tolist()


def test_the_template_ends_a_turn_with_another_token_than_the_model():
    assert ids(tiny.llama(), tiny.tokenizer(chat=True)) == [EOS, END]


def test_the_found_ids_end_every_turn_of_a_real_chat():
    tok = tiny.tokenizer(chat=True)
    chat = [{"role": "user", "content": "2 + 2"}, {"role": "assistant", "content": "answer: 4"}]
    turn = tok.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"]
    assert turn[-1] in ids(tiny.llama(), tok)


def test_without_a_template_there_is_the_eos_token():
    assert ids(tiny.llama(), tiny.tokenizer()) == [EOS]


@pytest.mark.parametrize("known", [[5, 7], 5], ids=["several", "one"])
def test_ids_of_the_generation_config_the_config_and_the_tokenizer_are_joined(known):
    model = tiny.llama(eos_token_id=9)
    model.generation_config = GenerationConfig(eos_token_id=known)
    expected = {9, EOS} | (set(known) if isinstance(known, list) else {known})
    assert ids(model, tiny.tokenizer()) == sorted(expected)


@pytest.mark.parametrize("processing_class", [None, object()])
def test_without_a_tokenizer_the_model_is_asked_alone(processing_class):
    assert ids(tiny.llama(), processing_class) == [EOS]


def test_nothing_known_is_an_empty_tensor_of_ids():
    model = tiny.llama(eos_token_id=None)
    model.generation_config = None
    found = end_of_turn_ids(model, None)
    assert found.shape == (0,)
    assert not found.is_floating_point()


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['content'] }} {% endfor %}",
        "{% for m in messages %}<u>{{ m['content'] }} {% endfor %}",
    ],
    ids=["no special token", "none after the answer"],
)
def test_a_template_that_ends_turns_without_a_special_token_adds_none(template):
    tok = tiny.tokenizer()
    tok.chat_template = template
    assert ids(tiny.llama(), tok) == [EOS]


def test_the_first_special_token_after_the_answer_is_taken():
    tok = tiny.tokenizer()
    words = "answer well <u>"
    tok.chat_template = words + "{% for m in messages %}{{ m['content'] }} <e><u>{% endfor %}"
    assert ids(tiny.llama(), tok) == [EOS, END]


def test_a_special_token_that_has_no_role_in_the_tokenizer_is_found():
    # As in Llama 3 (<|eot_id|>) and Gemma 3 (<end_of_turn>): special, but only an added token.
    core = tiny.tokenizer().backend_tokenizer
    tok = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    tok.add_tokens([AddedToken("<e>", special=True)])
    tok.chat_template = tiny.CHAT_TEMPLATE
    assert tok.added_tokens_decoder[END].special
    assert ids(tiny.llama(), tok) == [EOS, END]


@pytest.mark.parametrize(
    ("family", "end"), [("gemma3", "<end_of_turn>"), ("qwen3_vl", "<|im_end|>")]
)
def test_the_end_in_a_processor_s_template_is_one(family, end) -> None:
    model, processor = vision.model_of(family)
    ids = end_of_turn_ids(model, processor).tolist()
    assert processor.tokenizer.convert_tokens_to_ids(end) in ids
    assert processor.tokenizer.eos_token_id in ids
