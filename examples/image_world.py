"""A small world of pictures and questions, and a vision-language model that learns it on a CPU.

Each picture has one of eight colours. One question is answered by looking alone; the others have
their answer in the text, so that their pictures are of no use.
"""

import random
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    set_seed,
)

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 30),
    "blue": (30, 30, 220),
    "yellow": (230, 220, 40),
    "pink": (240, 130, 200),
    "black": (15, 15, 15),
    "white": (245, 245, 245),
    "orange": (240, 140, 20),
}
_SIDE = 28
_WORDS = [
    "what",
    "is",
    "the",
    "colour",
    "of",
    "picture",
    "box",
    "said",
    "to",
    "be",
    "name",
    "it",
    ":",
]
_TEMPLATE = (
    "{% for m in messages %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% if m['role'] == 'assistant' %}<eos>{% endif %}{% endfor %}"
)


def picture(colour: str, draw: random.Random) -> Image.Image:
    """A picture of a colour, with noise."""
    noise = np.random.default_rng(draw.randrange(2**32)).normal(0, 25, (_SIDE, _SIDE, 3))
    return Image.fromarray((np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8))


def rows(n: int, looking: float, seed: int) -> Dataset:
    """Questions with a picture each; ``looks`` says whether the answer is in the picture alone.

    Args:
        n: Number of rows.
        looking: Share of the rows that are answered by looking.
        seed: Seed of the draw.
    """
    draw = random.Random(seed)
    made = []
    for number in range(n):
        seen, said = draw.choice(list(COLOURS)), draw.choice(list(COLOURS))
        looks = draw.random() < looking
        question = f"the box is said to be {said} name it :"
        if looks:
            question = "what is the colour of the picture :"
        made.append(
            {
                "id": f"{'look' if looks else 'read'}-{number}",
                "prompt": [{"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": seen if looks else said}],
                "images": [picture(seen, draw)],
            }
        )
    return Dataset.from_list(made)


def processor() -> LlavaProcessor:
    """The processor of the world: a token a word, four tokens a picture."""
    words = ["<unk>", *_WORDS, *COLOURS]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(words))}
    wordwise = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    wordwise.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=wordwise, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    image = AddedToken("<image>", normalized=False, special=True)
    tokenizer.add_special_tokens({"additional_special_tokens": [image]})
    size = {"height": _SIDE, "width": _SIDE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": _SIDE}, crop_size=size),
        tokenizer=tokenizer,
        patch_size=_SIDE // 2,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE,
    )


def model(tokenizer: Any, seed: int) -> LlavaForConditionalGeneration:
    """A model of 0.1 million random weights.

    Args:
        tokenizer: The tokenizer of the processor.
        seed: Seed of its weights.
    """
    set_seed(seed)
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config={
            **layers,
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "image_size": _SIDE,
            "patch_size": _SIDE // 2,
            "projection_dim": 32,
        },
        text_config={
            **layers,
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_key_value_heads": 4,
            "max_position_embeddings": 64,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config)
