"""An inspection of rows with images."""

import io
import json

import pytest

import qtuning
from qtuning import QTuningConfig
from qtuning.commands.main import main
from qtuning.examples.adapter import labels_of
from qtuning.examples.example import answers_of

from .. import tiny, vision
from ..bad_input.test_images import asking, data_with, png, stored


def named(found) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {one.name: (one.level, one.rows) for one in found.findings}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vision.save(tmp_path_factory.mktemp("model"))


def test_pictures_are_counted_by_mode_and_size(folder) -> None:
    found = qtuning.inspect(vision.dataset(8), folder)
    assert found.facts["rows"] == {"read": 8, "with images": 6, "most images of a row": 2}
    expected = {"in all": 9, "readable": 9, "most pixels": 56 * 56, "fewest pixels": 30 * 30}
    assert found.facts["images"] == expected
    table = found.tables["commonest images"]
    assert sum(one["images"] for one in table) == 9
    assert {one["mode"] for one in table} == {"RGB"}
    assert named(found) == {"no-image": ("note", (3, 6))}
    assert json.loads(json.dumps(found.to_dict())) is not None


@pytest.mark.parametrize("streams", [False, True])
def test_tokens_are_those_of_training(folder, tmp_path, streams) -> None:
    data = vision.dataset(8)
    trainer = vision.trainer(tmp_path, "llava", data=data)
    labels = labels_of(trainer, trainer.data_collator)
    examples = [labels.of(dict(row)) for row in trainer.train_dataset]
    found = qtuning.inspect(
        data.to_iterable_dataset() if streams else data, folder, QTuningConfig(max_length=None)
    )
    facts = found.facts["tokens"]
    assert facts["rows read by the processor"] == 8
    assert facts["input, longest"] == max(len(one["input_ids"]) for one in examples)
    assert facts["image, longest"] == 8  # two images of four tokens
    assert facts["image share"] == round(9 * 4 / sum(len(one["input_ids"]) for one in examples), 4)
    rows = {one["row"]: one for one in found.tables["most image tokens"]}
    assert {number: one["image tokens"] for number, one in rows.items()} == {
        **{2: 8, 5: 8, 8: 8},
        **{1: 4, 4: 4},
    }
    first = found.shown[0]
    assert first.n_tokens == len(examples[0]["input_ids"])
    assert sum(first.trained) == len(answers_of(examples[0]))
    assert first.tokens.count("⟨4 image tokens⟩") == 1
    assert first.pictures == ({"alt": "RGB, 56 x 56 pixels"},), "no page is made"


def test_images_beyond_the_maximal_length_are_found(folder) -> None:
    found = qtuning.inspect(vision.dataset(8), folder, QTuningConfig(max_length=12))
    level, _ = named(found)["images-cut"]
    assert level == "warning"
    (cut,) = [one for one in found.findings if one.name == "images-cut"]
    assert "image tokens lie beyond max_length 12" in cut.what


def test_of_many_rows_some_are_read(folder, monkeypatch) -> None:
    monkeypatch.setattr("qtuning.inspection.images.READ_ROWS", 3)
    found = qtuning.inspect(vision.dataset(8), folder)
    assert found.facts["tokens"]["rows read by the processor"] == 3
    assert [one.row for one in found.shown] == [1, 4, 8]
    assert found.facts["images"]["readable"] == 9


def test_what_is_wrong_is_found_with_its_rows(folder) -> None:
    huge = stored(png(vision.Image.new("1", (9_000, 9_000))))
    frames = io.BytesIO()
    vision.picture(1).save(frames, "GIF", save_all=True, append_images=[vision.picture(2)])
    unknown = [{**asking(1)[0], "role": "villain"}]
    for changes, name, level in (
        ({"images": [None]}, "image-missing", "error"),
        ({"images": stored(b"text")}, "image-unreadable", "error"),
        ({"images": huge}, "image-huge", "warning"),
        ({"prompt": asking(2)}, "placeholders-differ", "error"),
        ({"images": stored(frames.getvalue())}, "image-moves", "note"),
        ({"prompt": unknown}, "not-read", "error"),
    ):
        found = qtuning.inspect(data_with(**changes), folder)
        assert named(found) == {name: (level, (3,))}
        assert all("\n" not in one.what for one in found.findings)


def test_the_command_tells_and_is_strict(folder, tmp_path, capsys) -> None:
    data_with(images=stored(b"text")).to_parquet(str(tmp_path / "rows.parquet"))
    words = ["inspect", "--model_name_or_path", str(folder), "--strict"]
    assert main([*words, "--dataset_name", str(tmp_path / "rows.parquet")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "cannot be read" in out
    assert "image: RGB, 56 x 56 pixels" in out


def test_a_model_of_text_is_refused(tmp_path) -> None:
    text = tiny.save_model(tmp_path / "text")
    with pytest.raises(qtuning.UsageError, match="has no processor of images"):
        qtuning.inspect(vision.dataset(2), text)


def test_rows_for_evaluation_are_not_passed_over_in_silence(folder) -> None:
    found = qtuning.inspect(vision.dataset(2), folder, eval_dataset=vision.dataset(2))
    assert named(found)["evaluation-not-compared"] == ("note", ())
