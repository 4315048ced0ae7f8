"""Tiny random vision-language models of six families, their processors, and pictures.

All are built from their configs: without the Hub, and without torchvision.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
import trl
from datasets import Dataset
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from qtuning import QTuningConfig, QTuningTrainer

from .runs import SETTINGS

_TEMPLATES = Path(trl.__file__).parent / "chat_templates"
_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def template(name: str) -> str:
    return (_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def tokenizer(special: list[str], eos: str, pad: str, **more: Any) -> Any:
    """Byte-level without merges: 256 bytes and the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    made = hf.PreTrainedTokenizerFast(
        tokenizer_object=bytewise, eos_token=eos, pad_token=pad, **more
    )
    tokens = [AddedToken(one, normalized=False, special=True) for one in special]
    made.add_special_tokens({"additional_special_tokens": tokens})
    return made


def llava() -> tuple[Any, Any]:
    words = tokenizer(["<image>"], "<|im_end|>", "<pad>", bos_token="<s>", unk_token="<unk>")
    pictures = hf.CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    processor = hf.LlavaProcessor(
        image_processor=pictures,
        tokenizer=words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("llava_next"),
    )
    config = hf.LlavaConfig(
        vision_config={**_VISION, "projection_dim": 16, "model_type": "clip_vision_model"},
        text_config={**_TEXT, "vocab_size": len(words), "model_type": "llama"},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
        vision_feature_layer=-1,
    )
    return hf.LlavaForConditionalGeneration(config), processor


def _tiles(kind: str) -> tuple[Any, Any]:
    """A model of SmolVLM's kind, and a processor that cuts pictures into tiles.

    The processor is Idefics3's: SmolVLM's own needs torchvision, for videos, and num2words.
    """
    name = kind.lower()
    tiles = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    end = "<end_of_utterance>"
    special = ["<fake_token_around_image>", "<image>", "<global-img>", end, *tiles]
    words = tokenizer(special, end, "<pad>", bos_token="<|im_start|>")
    processor = hf.Idefics3Processor(
        getattr(hf, f"{kind}ImageProcessorPil")(
            size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
        ),
        words,
        image_seq_len=4,
        chat_template=template(name),
    )
    made = getattr(hf, f"{kind}Config")(
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=1,
        pad_token_id=words.pad_token_id,
        vision_config={**_VISION, "model_type": f"{name}_vision"},
        text_config={
            **_TEXT,
            "model_type": "llama",
            "vocab_size": len(words),
            "pad_token_id": words.pad_token_id,
        },
    )
    return getattr(hf, f"{kind}ForConditionalGeneration")(made), processor


def gemma3() -> tuple[Any, Any]:
    names = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    }
    words = tokenizer(
        ["<start_of_turn>", "<end_of_turn>", *names.values()],
        "<eos>",
        "<pad>",
        bos_token="<bos>",
        unk_token="<unk>",
        extra_special_tokens=names,
    )
    pictures = hf.Gemma3ImageProcessorPil(size={"height": 28, "width": 28}, image_seq_length=4)
    processor = hf.Gemma3Processor(
        pictures, words, chat_template=template("gemma3"), image_seq_length=4
    )
    config = hf.Gemma3Config(
        mm_tokens_per_image=4,
        image_token_id=words.image_token_id,
        boi_token_index=words.boi_token_id,
        eoi_token_index=words.eoi_token_id,
        vision_config={**_VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={
            **_TEXT,
            "model_type": "gemma3_text",
            "vocab_size": len(words),
            "num_key_value_heads": 1,
            "head_dim": 8,
            "pad_token_id": words.pad_token_id,
            "sliding_window": 64,
        },
    )
    return hf.Gemma3ForConditionalGeneration(config), processor


def _images_only(base: Any) -> Any:
    """A Qwen processor without its video processor, which needs torchvision."""

    class ImagesOnly(base):
        def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
            base.__init__(self, image_processor, tokenizer, None, chat_template=chat_template)

    ImagesOnly.__name__ = base.__name__
    return ImagesOnly


_QWEN = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"]
_QWEN += ["<|image_pad|>", "<|video_pad|>"]


def _qwen_parts(patch: int) -> tuple[Any, Any, dict[str, int], dict[str, Any]]:
    words = tokenizer(_QWEN, "<|im_end|>", "<|endoftext|>")
    pictures = hf.Qwen2VLImageProcessorPil(
        size={"shortest_edge": (2 * patch) ** 2, "longest_edge": (4 * patch) ** 2},
        patch_size=patch,
        merge_size=2,
        temporal_patch_size=2,
    )
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    keys = (
        "image_token_id",
        "video_token_id",
        "vision_start_token_id",
        "vision_end_token_id",
    )
    ids = {k: words.convert_tokens_to_ids(f"<|{n}|>") for k, n in zip(keys, names, strict=True)}
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 16,
        "patch_size": patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    return words, pictures, ids, vision


def qwen2_5_vl() -> tuple[Any, Any]:
    words, pictures, ids, vision = _qwen_parts(14)
    processor = _images_only(hf.Qwen2_5_VLProcessor)(
        pictures, words, chat_template=template("qwen2_5_vl")
    )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = hf.Qwen2_5_VLConfig(
        **ids,
        vision_config={**vision, "window_size": 56, "fullatt_block_indexes": [1]},
        text_config={
            **_TEXT,
            "vocab_size": len(words),
            "rope_parameters": rope,
            "tie_word_embeddings": False,
            "pad_token_id": words.pad_token_id,
        },
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    words, pictures, ids, vision = _qwen_parts(16)
    processor = _images_only(hf.Qwen3VLProcessor)(
        pictures, words, chat_template=template("qwen3_vl")
    )
    rope = {
        "rope_type": "default",
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
        "rope_theta": 10000.0,
    }
    config = hf.Qwen3VLConfig(
        **ids,
        vision_config={**vision, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        text_config={
            **_TEXT,
            "vocab_size": len(words),
            "head_dim": 8,
            "rope_parameters": rope,
            "pad_token_id": words.pad_token_id,
        },
    )
    return hf.Qwen3VLForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": llava,
    "idefics3": functools.partial(_tiles, "Idefics3"),
    "smolvlm": functools.partial(_tiles, "SmolVLM"),
    "gemma3": gemma3,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
}


def model_of(family: str) -> tuple[Any, Any]:
    """A model and its processor, always with the same random weights.

    Skips the test where TRL is older than its support of these models, which images are not
    promised to train with either.
    """
    if not _TEMPLATES.joinpath("llava_next.jinja").exists():
        pytest.skip(f"TRL {trl.__version__} has no chat templates of models that see")
    set_seed(0)
    return FAMILIES[family]()


def save(folder: Path, family: str = "llava") -> Path:
    """Save a model and its processor in a folder, and return it."""
    for part in model_of(family):
        part.save_pretrained(folder)
    return folder


def picture(seed: int, size: tuple[int, int] = (56, 56), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def row(k: int, *, talk: bool = False, n_images: int | None = None) -> dict[str, Any]:
    """A question and an answer with one or two pictures; every third has text alone."""
    user = [{"role": "user", "content": f"What is {k}?"}]
    bot = [{"role": "assistant", "content": f"It is number {k}, " + "so " * (k % 4)}]
    sizes = [(56, 56), (84, 28), (28, 56), (30, 30)]
    n = (1, 2, 0)[k % 3] if n_images is None else n_images
    return {
        **({"messages": user + bot} if talk else {"prompt": user, "completion": bot}),
        "images": [picture(100 * k + j, sizes[k % 4]) for j in range(n)],
    }


def dataset(n: int = 16, **kind: Any) -> Dataset:
    return Dataset.from_list([row(k, **kind) for k in range(n)])


VISION_SETTINGS: dict[str, Any] = {**SETTINGS, "max_length": None, "dataloader_pin_memory": False}


def trainer(
    folder: Path, family: str, *, data: Any = None, stock: bool = False, **settings: Any
) -> Any:
    """A trainer of a tiny model on rows with images."""
    kinds: Any = (SFTTrainer, SFTConfig) if stock else (QTuningTrainer, QTuningConfig)
    model, processor = model_of(family)
    set_seed(42)
    return kinds[0](
        model,
        kinds[1](str(folder), **{**VISION_SETTINGS, **settings}),
        train_dataset=dataset() if data is None else data,
        processing_class=processor,
    )


def naive_nll(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """NLL of the labels of a batch of one row by full logits in float64, ``(T,)``."""
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits.double()
    labels = batch["labels"][0, 1:]
    log_p = torch.log_softmax(logits[0, :-1], -1)
    at = labels != -100
    return -log_p[at].gather(1, labels[at][:, None]).squeeze(1).cpu()
