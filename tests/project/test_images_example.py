"""The example of images, in small."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_the_example_ends_in_a_table_of_all_methods() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "images.py", "--steps", "2", "--seeds", "1"],
        cwd=EXAMPLES,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("full", "random", "q-tuning", "image-gain", "tokens scored"):
        assert name in done.stdout, done.stdout


def test_what_is_answered_by_looking_is_in_the_picture_alone(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import image_world

    rows = image_world.rows(40, 0.5, seed=0)
    looks = [row["id"].startswith("look") for row in rows]
    assert 0 < sum(looks) < 40
    for row, by_looking in zip(rows, looks, strict=True):
        answer = row["completion"][0]["content"]
        assert (answer in row["prompt"][0]["content"]) == (not by_looking)
        if by_looking:
            drawn = image_world.picture(answer, random.Random(1)).resize((1, 1)).getpixel((0, 0))
            seen = row["images"][0].resize((1, 1)).getpixel((0, 0))
            assert max(abs(a - b) for a, b in zip(drawn, seen, strict=True)) < 40
