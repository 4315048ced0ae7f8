"""Pictures of a row for a page: small, encoded anew, and a line for what is not shown."""

import base64
import io
import random
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from qtuning import UsageError
from qtuning.examples.pictures import read_pictures
from qtuning.examples.thumbnails import SIDE, shown_pictures

from .. import vision


def png(picture: Image.Image, **info: str) -> bytes:
    stream, text = io.BytesIO(), PngImagePlugin.PngInfo()
    for key, value in info.items():
        text.add_text(key, value)
    picture.save(stream, "PNG", pnginfo=text)
    return stream.getvalue()


def one(content: bytes | None, path: str | None = None) -> dict:
    return {"images": [{"bytes": content, "path": path}]}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_a_picture_of_any_mode_is_drawn_small_and_encoded_anew(mode) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    stream = io.BytesIO()
    vision.picture(3, (600, 300), mode).save(stream, kind)
    (shown,) = shown_pictures(one(stream.getvalue()))
    small = drawn(shown)
    assert (small.format, small.mode, max(small.size)) == ("JPEG", "RGB", SIDE)
    assert shown["alt"] == f"{mode}, 600 x 300 pixels"


def drawn(shown: dict[str, str]) -> Image.Image:
    head, encoded = shown["src"].split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def levels(shown: dict[str, str]) -> np.ndarray:
    return np.asarray(drawn(shown).convert("L"), dtype=int)


def test_sixteen_bits_are_spread_over_eight() -> None:
    """Cut to 8 bits, all but the darkest would be white."""
    steps = np.linspace(20_000, 40_000, 160 * 80).reshape(80, 160).astype(np.uint16)
    (shown,) = shown_pictures(one(png(Image.fromarray(steps))))
    assert levels(shown).min() < 10
    assert levels(shown).max() > 245
    assert levels(shown).std() > 50


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 40, 80))
    left, right = np.split(levels(shown_pictures(one(png(clear)))[0]), 2, axis=1)
    assert left.mean() < 60
    assert right.mean() > 245


def test_a_picture_is_turned_as_its_file_says_and_as_training_turns_it() -> None:
    picture, stream = Image.new("RGB", (100, 50)), io.BytesIO()
    exif = picture.getexif()
    exif[0x0112] = 6  # lies on its side
    picture.save(stream, "JPEG", exif=exif)
    row = one(stream.getvalue())
    (shown,) = shown_pictures(row)
    assert drawn(shown).size == (50, 100)
    assert read_pictures(row["images"], row)[0].size == (50, 100)


def test_of_a_moving_picture_the_first_frame_is_shown() -> None:
    frames, stream = [Image.new("RGB", (60, 60), c) for c in ("white", "black")], io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    (shown,) = shown_pictures(one(stream.getvalue()))
    assert shown["alt"].endswith("60 x 60 pixels, the first of 2 frames")
    assert levels(shown).min() > 245


def test_programs_are_no_pictures() -> None:
    """EPS is run by another program."""
    stream = io.BytesIO()
    vision.picture(1).save(stream, "EPS")
    (shown,) = shown_pictures(one(stream.getvalue()))
    assert shown == {"said": "image not shown: its content is no picture of a known kind"}


def test_a_picture_in_memory_is_shown_and_left_alone() -> None:
    picture = vision.picture(1, (400, 400))
    (shown,) = shown_pictures({"image": picture})
    assert drawn(shown).size == (SIDE, SIDE)
    assert picture.size == (400, 400)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "DDS", "BMP", "ICO"])
def test_damaged_pictures_are_never_a_traceback(kind) -> None:
    stream = io.BytesIO()
    vision.picture(1, (40, 30)).save(stream, kind)
    sound, draw = stream.getvalue(), random.Random(kind)
    for _ in range(300):
        content = bytearray(sound)
        for _ in range(draw.choice([1, 2, 8])):
            content[draw.randrange(min(len(content), draw.choice([40, 200, 10_000])))] ^= 1 << (
                draw.randrange(8)
            )
        row = one(bytes(content))
        (shown,) = shown_pictures(row)
        assert "src" in shown or "\n" not in shown["said"]
        with suppress(UsageError):
            read_pictures(row["images"], row)
