"""The fuzzer itself: what it breaks is sound before, and a case is the same every time."""

import random
import shutil

import pytest

from . import sound
from .mutate import mutated
from .targets import TARGETS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("peft")
    pytest.importorskip("gguf")
    folder = tmp_path_factory.mktemp("fuzz") / "sound"
    sound.make(folder)
    return folder


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "gguf"])
def test_sound_files_are_read(folder, tmp_path, name) -> None:
    target = TARGETS[name]
    place = shutil.copytree(folder, tmp_path / "copy")
    file = next(f for p in target.files for f in sorted((place / target.folder).glob(p)))
    target.read(file, random.Random(3))


def test_a_case_is_the_same_every_time() -> None:
    content = b'{"a": [1, 2, {"b": null}]}\n' * 3
    for name in ("x.jsonl", "x.yaml", "x.parquet"):
        made = [mutated(content, name, random.Random(f"7 {i}")) for i in range(50)]
        assert made == [mutated(content, name, random.Random(f"7 {i}")) for i in range(50)]
        assert len(set(made)) > 20
