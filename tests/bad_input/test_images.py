"""Rows whose images cannot be trained on: one line each, with the sample's name."""

import io

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List
from PIL import Image as Pictures

from qtuning import UsageError
from qtuning.examples.pictures import read_pictures

from .. import vision

ROW = 2


def png(picture: Pictures.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def stored(content: bytes | None, path: str | None = None) -> list[dict]:
    return [{"bytes": content, "path": path}]


def asking(n_images: int) -> list[dict]:
    parts = [{"type": "image", "text": None} for _ in range(n_images)]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]


def data_with(**changes) -> Dataset:
    """Four rows, of which the third is changed; users' contents are in parts if its own is."""
    rows = [vision.row(k, n_images=1) for k in range(4)]
    if "prompt" in changes:
        rows = [{**row, "prompt": asking(1)} for row in rows]
    rows[ROW] |= changes
    texts = [{key: row[key] for key in ("prompt", "completion")} for row in rows]
    features = Features({**Dataset.from_list(texts).features, "images": List(Image())})
    return Dataset.from_list(rows, features=features)


CASES = {
    "missing": ({"images": [None]}, "image 1 is missing"),
    "no list": ({"images": None}, "its image is missing"),
    "no such file": (
        {"images": stored(None, "nowhere/a.png")},
        "image 1 (nowhere/a.png) cannot be read: ",
    ),
    "no picture": (
        {"images": stored(b"text")},
        "image 1 cannot be read: its content is no picture",
    ),
    "cut short": (
        {"images": stored(png(vision.picture(1, (300, 300)))[:2000])},
        "image 1 cannot be read: image file is truncated",
    ),
    "huge": (
        {"images": stored(png(Pictures.new("1", (20_000, 20_000))))},
        "image 1 cannot be read: Image size (400000000 pixels) exceeds limit",
    ),
    "more placeholders": ({"prompt": asking(2)}, "its 1 image (RGB 28x56): Number of images"),
    "fewer placeholders": ({"prompt": asking(0)}, "its 1 image (RGB 28x56): Number of images"),
}


@pytest.mark.parametrize("ratio", [0.5, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_images_that_cannot_be_read_are_one_line_with_the_row(tmp_path, case, ratio) -> None:
    changes, words = CASES[case]
    trainer = vision.trainer(
        tmp_path, "llava", data=data_with(**changes), sample_ratio=ratio, token_ratio=ratio
    )
    with pytest.raises(UsageError) as raised:
        trainer.train()
    assert f"sample {ROW}: " in str(raised.value)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_picture_at_hand_that_cannot_be_read_is_one_line() -> None:
    """16 bits, whose range is looked at; it is cut short behind its head."""
    values = np.arange(300 * 300, dtype=np.uint16).reshape(300, 300)
    content = png(Pictures.fromarray(values))
    picture = Pictures.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(UsageError, match="sample a: image 1 cannot be read: image file is trunc"):
        read_pictures([picture], {"sample_id": "a"})


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_images_of_another_mode_are_trained_on_or_named(tmp_path, mode) -> None:
    """Most processors turn them to RGB; one that does not is no reason for a traceback."""
    data = data_with(images=[vision.picture(7, mode=mode)])
    vision.trainer(tmp_path / "a", "llava", data=data, num_train_epochs=1).train()
    trainer = vision.trainer(tmp_path / "b", "llava", data=data, num_train_epochs=1)
    trainer.processing_class.image_processor.do_convert_rgb = False
    with pytest.raises(UsageError, match=rf"sample {ROW}: .* \({mode} 56x56\): ") as raised:
        trainer.train()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        (vision.dataset(4, talk=True), {"token_mode": "drop"}, "token_mode drop"),
        (vision.dataset(4, talk=True), {"sample_pruner": "ifd"}, "sample_pruner ifd"),
        (vision.dataset(4), {"prune_unit": "turn"}, "prune_unit turn on data with images"),
        (
            vision.dataset(4).remove_columns("images"),
            {"sample_pruner": "image-gain"},
            "without a column images",
        ),
    ],
    ids=["drop", "ifd", "turns", "no images"],
)
def test_what_cannot_be_done_is_refused_at_once(tmp_path, data, settings, words) -> None:
    with pytest.raises(UsageError, match=words):
        vision.trainer(tmp_path, "llava", data=data, **settings)
