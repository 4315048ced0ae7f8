"""An inspection of rows with images."""

import qtuning
from qtuning.commands.main import main

from .. import tiny, vision
from ..bad_input.test_images import asking, data_with, png, stored


def named(found) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {one.name: (one.level, one.rows) for one in found.findings}


def test_pictures_are_counted_by_mode_and_size(tmp_path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    found = qtuning.inspect(vision.dataset(8), folder)
    assert found.facts["rows"] == {"read": 8, "with images": 6, "most images of a row": 2}
    assert found.facts["images"] == {"in all": 9, "readable": 9, "most pixels": 56 * 56}
    table = found.tables["commonest images"]
    assert sum(one["images"] for one in table) == 9
    assert {one["mode"] for one in table} == {"RGB"}
    assert named(found) == {"no-image": ("note", (3, 6))}


def test_what_is_wrong_is_found_with_its_rows(tmp_path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    huge = stored(png(vision.Image.new("1", (9_000, 9_000))))
    for changes, name, level in (
        ({"images": [None]}, "image-missing", "error"),
        ({"images": stored(b"text")}, "image-unreadable", "error"),
        ({"images": huge}, "image-huge", "warning"),
        ({"prompt": asking(2)}, "placeholders-differ", "error"),
    ):
        found = qtuning.inspect(data_with(**changes), folder)
        assert named(found) == {name: (level, (3,))}
        assert all("\n" not in one.what for one in found.findings)


def test_the_command_tells_and_is_strict(tmp_path, capsys) -> None:
    folder = tiny.save_model(tmp_path / "model")
    data_with(images=stored(b"text")).to_parquet(str(tmp_path / "rows.parquet"))
    words = ["inspect", "--model_name_or_path", str(folder), "--strict"]
    assert main([*words, "--dataset_name", str(tmp_path / "rows.parquet")]) == 1
    assert "cannot be read" in " ".join(capsys.readouterr().out.split())
