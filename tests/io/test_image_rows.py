"""Rows with images: other trainers' formats, paths, and no column that is lost without a word."""

import json

import pytest
from datasets import Dataset, Image, List

from qtuning import UsageError
from qtuning.io.image_marks import in_text
from qtuning.io.image_rows import image_rows, picture_features, placed

from .. import vision

IMAGE = {"type": "image", "text": None}


def words(text: str) -> dict:
    return {"type": "text", "text": text}


def data_of(*talks: list[dict], column: str = "conversations", n_images: int = 1) -> Dataset:
    pictures = [vision.picture(k) for k in range(n_images)]
    return Dataset.from_list([{column: talk, "images": pictures} for talk in talks])


def share(*texts: str) -> list[dict]:
    speakers = ("human", "gpt") * len(texts)
    return [{"from": who, "value": text} for who, text in zip(speakers, texts, strict=False)]


@pytest.mark.parametrize("column", ["conversations", "messages"])
def test_marks_become_parts_where_they_stand(column) -> None:
    read = image_rows(data_of(share("See <image> here", "yes"), column=column), "x")
    assert set(read.column_names) == {"images", "messages"}
    (row,) = read
    assert row["messages"] == [
        {"role": "user", "content": [words("See "), IMAGE, words(" here")]},
        {"role": "assistant", "content": [words("yes")]},
    ]
    assert read.features["images"] == List(Image())


def test_without_a_mark_images_go_first_as_trl_has_it() -> None:
    marked, plain = share("<image>a", "b"), share("c", "d <image>", "e", "f")
    read = image_rows(data_of(marked, plain, n_images=2), "x")
    first, second = (row["messages"] for row in read)
    assert first[0]["content"] == [IMAGE, words("a")], "the number of marks is the user's to mend"
    assert [turn["content"] for turn in second] == [
        [IMAGE, IMAGE, words("c")],
        [words("d <image>")],
        [words("e")],
        [words("f")],
    ]


def test_where_no_text_has_a_mark_texts_stay_texts() -> None:
    read = image_rows(data_of(share("a", "b <image>")), "x")
    assert [turn["content"] for turn in read[0]["messages"]] == ["a", "b <image>"]


def test_alpaca_is_read_with_images() -> None:
    row = {"instruction": "<image>What?", "input": "", "output": "That", "image": vision.picture(1)}
    (read,) = image_rows(Dataset.from_list([row]), "x")
    assert read["prompt"] == [{"role": "user", "content": [IMAGE, words("What?")]}]
    assert read["completion"] == [{"role": "assistant", "content": [words("That")]}]


def test_the_weight_of_a_row_stays_and_those_of_messages_are_refused() -> None:
    data = data_of(share("a", "b"), share("c", "d")).add_column("loss_weight", [1.0, 2.0])
    assert image_rows(data, "x")["loss_weight"] == [1.0, 2.0]
    talk = [{**turn, "weight": k} for k, turn in enumerate(share("a", "b", "c", "d"))]
    talk[1]["weight"] = 0
    with pytest.raises(UsageError, match="x, row 1: conversations has weights of messages"):
        image_rows(data_of(talk), "x")


@pytest.mark.parametrize("column", ["system", "history", "video", "audios"])
def test_no_column_that_says_something_is_lost(column) -> None:
    turns = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]] * 2
    data = data_of(*turns, column="messages")
    assert len(image_rows(data.add_column(column, ["", ""]), "x")) == 2
    with pytest.raises(UsageError, match=f"x, row 2: {column} is not read in this format"):
        image_rows(data.add_column(column, ["", "Be kind."]), "x")


def test_paths_of_files_become_absolute_and_others_stay(tmp_path) -> None:
    vision.picture(1).save(tmp_path / "a.png")
    rows = [{"images": ["a.png", "b.png", "https://a.example/c.png"], "image": None}]
    for data in (Dataset.from_list(rows), Dataset.from_list(rows).to_iterable_dataset()):
        (row,) = placed(data, f"{tmp_path / 'rows.jsonl'} [train]")
        assert row["images"] == [str(tmp_path / "a.png"), "b.png", "https://a.example/c.png"]


def test_pictures_are_known_by_how_they_are_stored() -> None:
    data = Dataset.from_list([{"image": {"bytes": b"x", "path": None}, "meta": {"path": "y"}}])
    features = picture_features(data.data.schema)
    assert features["image"] == Image()
    assert features["meta"] == data.features["meta"]


def test_parts_become_marks_again() -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [words("See "), IMAGE, words(" here")]},
        {"role": "assistant", "content": None},
    ]
    contents = [turn["content"] for turn in in_text(turns, 1)]
    assert contents == ["Be kind.", "See <image> here", ""]
    plain = [{"role": "system", "content": "x"}, {"role": "user", "content": "a"}]
    assert [turn["content"] for turn in in_text(plain, 2)] == ["x", "<image><image>a"]
    assert json.dumps(plain[1]) == '{"role": "user", "content": "a"}'
