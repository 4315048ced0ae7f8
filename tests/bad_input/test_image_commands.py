"""Rows with bad images, through the commands: one line with the row, and exit code 2."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from .. import device, vision
from .conftest import TRAINING
from .test_images import CASES, ROW, data_with, png, stored

np, Pictures = vision.np, vision.Image


def file(picture: Pictures.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def values(low: float, high: float, kind: type) -> Pictures.Image:
    return Pictures.fromarray(np.linspace(low, high, 40 * 40).reshape(40, 40).astype(kind))


BAD = {
    **{name: case for name, case in CASES.items() if name != "no such file"},
    "16 bits": (
        {"images": stored(png(values(0, 65_535, np.uint16)))},
        "image 1 is of mode I;16 with values from 0 to 65,535",
    ),
    "32 bits": (
        {"images": stored(file(values(-5, 5, np.int32), "TIFF"))},
        "image 1 is of mode I with values from -5 to 5",
    ),
    "shares": (
        {"images": stored(file(values(0, 1, np.float32), "TIFF"))},
        "image 1 is of mode F with values from 0 to 1",
    ),
}
ODD = {
    "CMYK": lambda one: file(one.convert("CMYK"), "JPEG"),
    "palette": lambda one: file(one.convert("P"), "PNG"),
    "grey with alpha": lambda one: file(one.convert("LA"), "PNG"),
    "transparent": lambda one: file(one.convert("RGBA"), "WEBP"),
    "one bit": lambda one: file(one.convert("1"), "PNG"),
    "8 of 32 bits": lambda one: file(values(0, 255, np.int32), "TIFF"),
    "animated": lambda one: file(one, "GIF", save_all=True, append_images=[vision.picture(1)]),
}


@pytest.fixture(scope="module")
def seeing(tmp_path_factory) -> Path:
    return vision.save(tmp_path_factory.mktemp("seeing"))


@pytest.fixture
def words(seeing, tmp_path) -> Callable[..., list[object]]:
    """The words of a command on four rows, of which the third is changed."""

    def made(verb: str, **changes: object) -> list[object]:
        rows = tmp_path / "rows.parquet"
        data_with(**changes).to_parquet(str(rows))
        how = ["--model_name_or_path", seeing, "--dataset_name", rows]
        if verb == "score":
            return [verb, *how, "--output", tmp_path / "scores.parquet"]
        more = ["--output_dir", tmp_path / "out", "--sample_ratio", 0.5, "--max_length", "null"]
        more += [*device.flags(), "--save_strategy", "no", "--num_train_epochs", 1]
        return [verb, *how, *TRAINING, *more]

    return made


@pytest.mark.parametrize("verb", ["train", "score"])
@pytest.mark.parametrize("case", BAD)
def test_bad_images_end_a_command_in_one_line_with_the_row(words, refuses, verb, case) -> None:
    changes, said = BAD[case]
    line = refuses(*words(verb, **changes), leaves=True)
    assert line.startswith(f"qtuning: sample {ROW}: ")
    assert said in line


@pytest.mark.parametrize("case", ODD)
def test_images_of_other_modes_are_scored(words, case) -> None:
    from qtuning.commands.main import main

    odd = ODD[case](vision.picture(7, (40, 40)))
    assert main([str(one) for one in words("score", images=stored(odd))]) == 0


def test_a_damaged_picture_in_a_stream_is_one_line(words, refuses) -> None:
    line = refuses(
        *words("train", images=stored(b"text")),
        *("--dataset_streaming", "--max_steps", 2),
        leaves=True,
    )
    assert "image 1 cannot be read: its content is no picture" in line
