"""Rows with images, scored and pruned: what is written can be trained on by us and by others."""

import io
import json

import pytest
from datasets import Dataset, Image, List, load_dataset, load_from_disk

import qtuning
from qtuning import UsageError
from qtuning.commands.main import main
from qtuning.io.image_rows import image_rows
from qtuning.pruners.protocols import WITHOUT_IMAGE

from .. import runs, vision
from ..bad_input.test_images import asking, data_with
from ..commands.test_train_images import write_paths

SHORT = {"num_train_epochs": 1, "per_device_train_batch_size": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return vision.save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def scored(model):
    return qtuning.score(vision.dataset(8), model, per_token=True, progress=False)


def kept(scored, output, to, **more):
    return qtuning.prune(
        scored, sample_ratio=0.5, token_ratio=1.0, output=output, format=to, **more
    )


def pixels(row) -> list[bytes]:
    return [picture.tobytes() for picture in row["images"]]


def test_what_is_returned_has_pictures(scored) -> None:
    assert scored.features["images"] == List(Image())
    assert list(map(pixels, scored)) == list(map(pixels, vision.dataset(8)))


def test_a_stream_has_the_scores_of_its_rows(scored, model) -> None:
    streamed = qtuning.score(vision.dataset(8).to_iterable_dataset(), model, progress=False)
    assert streamed["ppl"] == scored["ppl"]
    assert list(map(pixels, streamed)) == list(map(pixels, scored))


@pytest.mark.parametrize("to", ["parquet", "datasets", "trl"])
def test_rows_with_their_pictures_are_trained_on_by_stock_trl_and_by_us(
    scored, tmp_path, to
) -> None:
    rows = kept(scored, tmp_path / "kept", to)
    if to == "datasets":
        read = load_from_disk(str(tmp_path / "kept"))
    else:
        file = tmp_path / "kept" if to == "parquet" else tmp_path / "kept" / "train.parquet"
        read = load_dataset("parquet", data_files=str(file), split="train")
    assert len(rows) == len(read) == 4
    assert list(map(pixels, read)) == list(map(pixels, rows))
    if to == "trl":
        assert set(read.column_names) == {"prompt", "completion", "images"}
    data = read.select_columns(["prompt", "completion", "images"])
    stock = vision.trainer(tmp_path / "a", "llava", data=data, stock=True, **SHORT)
    stock.train()
    again = image_rows(data, "kept")
    ratios = {"sample_ratio": 1.0, "token_ratio": 1.0}
    ours = vision.trainer(tmp_path / "b", "llava", data=again, **ratios, **SHORT)
    ours.train()
    assert runs.losses(ours) == runs.losses(stock)


def in_parts() -> Dataset:
    """Conversations whose pictures stand behind the first words."""
    image, words = {"type": "image", "text": None}, {"type": "text", "text": "See"}
    rows = []
    for k in range(8):
        row = vision.row(k, talk=True)
        question = {"type": "text", "text": row["messages"][0]["content"]}
        first = [words, *[image] * len(row["images"]), question]
        answer = [{"type": "text", "text": row["messages"][1]["content"]}]
        turns = [{"role": "user", "content": first}, {"role": "assistant", "content": answer}]
        rows.append({**row, "messages": turns})
    return Dataset.from_list(rows)


@pytest.mark.parametrize("made", [lambda: vision.dataset(8), in_parts], ids=["texts", "parts"])
def test_llamafactory_gets_files_and_marks_and_we_read_them(model, tmp_path, made) -> None:
    data = made()
    scored = qtuning.score(data, model, progress=False)
    rows = kept(scored, tmp_path / "out", "llamafactory")
    (entry,) = json.loads((tmp_path / "out" / "dataset_info.json").read_text()).values()
    assert entry["columns"]["images"] == "images"
    lines = [json.loads(line) for line in (tmp_path / "out" / "data.jsonl").open()]
    assert len(lines) == len(rows) == 4
    for line, row in zip(lines, rows, strict=True):
        asked = line.get("instruction") or line["messages"][0]["value"]
        assert asked.count("<image>") == len(line["images"]) == len(row["images"])
        assert "images" in entry["columns"]
        for name, picture in zip(line["images"], row["images"], strict=True):
            with vision.Image.open(tmp_path / "out" / name) as stored:
                assert stored.tobytes() == picture.tobytes()
        start = "See<image>" if made is in_parts and line["images"] else ""
        assert asked.startswith(start)
    read = image_rows(
        load_dataset("json", data_files=str(tmp_path / "out" / "data.jsonl"), split="train"),
        str(tmp_path / "out" / "data.jsonl"),
    )
    first, second = (qtuning.score(one, model, progress=False) for one in (rows_of(rows), read))
    assert first["ppl"] == pytest.approx(second["ppl"])
    assert first["n_tokens"] == second["n_tokens"]


def rows_of(rows: Dataset) -> Dataset:
    names = [n for n in ("messages", "prompt", "completion", "images") if n in rows.column_names]
    return rows.select_columns(names)


def test_marks_without_as_many_images_are_refused(tmp_path) -> None:
    """Gemma's images have another mark, so that this one is text."""
    model = vision.save(tmp_path / "model", "gemma3")
    row = vision.row(0, n_images=1)
    row["completion"] = [{"role": "assistant", "content": "I see <image>."}]
    data = Dataset.from_list([row])
    one = qtuning.score(data, model, progress=False)
    with pytest.raises(UsageError, match="kept row 1 has 2 <image> in its texts and 1 images"):
        qtuning.prune(
            one, sample_ratio=1.0, token_ratio=1.0, output=tmp_path / "x", format="llamafactory"
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("to", "ratio", "words"),
    [
        ("axolotl", 1.0, "use trl, llamafactory or parquet"),
        ("trl", 0.5, "set token_ratio to 1.0, or prune while training"),
        ("llamafactory", 0.5, "set token_ratio to 1.0, or prune while training"),
        ("jsonl", 1.0, "JSON Lines hold none: use parquet or datasets, or llamafactory"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(scored, tmp_path, to, ratio, words) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        qtuning.prune(scored, sample_ratio=1.0, token_ratio=ratio, output=tmp_path / "x", format=to)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_paths_are_found_from_other_folders(model, tmp_path, monkeypatch) -> None:
    """Scores and what is kept are read elsewhere than the data."""
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    data = write_paths(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "work")
    words = f"score --model_name_or_path {model} --dataset_name {data} --output s.parquet"
    assert main(words.split()) == 0
    words = "prune s.parquet --sample_ratio 1.0 --token_ratio 1.0 --format jsonl --output k.jsonl"
    assert main(words.split()) == 0
    monkeypatch.chdir(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "work" / "k.jsonl").open()]
    assert [len(line["images"]) for line in lines] == [(1, 2, 0)[k % 3] for k in range(8)]
    names = ("prompt", "completion", "images")
    rows = [json.dumps({name: line[name] for name in names}) for line in lines]
    (tmp_path / "again.jsonl").write_text("\n".join(rows))
    again = qtuning.score(str(tmp_path / "again.jsonl"), model, progress=False)
    assert again["ppl"] == [line["ppl"] for line in lines]


def test_conversations_with_marks_are_those_with_parts(model, tmp_path) -> None:
    """LLaVA's data: who speaks in ``from``, and a mark where the image is."""
    rows = []
    for k in range(4):
        row = vision.row(k, talk=True)
        said = [turn["content"] for turn in row["messages"]]
        said[0] = "See" + "<image>" * len(row["images"]) + said[0]
        turns = zip(("human", "gpt"), said, strict=True)
        talk = [{"from": who, "value": text} for who, text in turns]
        rows.append({"conversations": talk, "images": row["images"]})
    marked = qtuning.score(Dataset.from_list(rows), model, progress=False)
    parts = qtuning.score(in_parts().select(range(4)), model, progress=False)
    assert marked["ppl"] == pytest.approx(parts["ppl"])
    assert marked["n_tokens"] == parts["n_tokens"]


def test_a_damaged_picture_is_one_line_with_the_row(model) -> None:
    for changes in ({"images": [None]}, {"prompt": asking(2)}):
        with pytest.raises(UsageError, match=r"^sample 2: ") as raised:
            qtuning.score(data_with(**changes), model, progress=False)
        assert "\n" not in str(raised.value)


def test_pictures_beyond_eight_bits_are_refused(model) -> None:
    deep = io.BytesIO()
    vision.Image.fromarray(vision.np.full((40, 40), 40_000, vision.np.uint16)).save(deep, "PNG")
    data = data_with(images=[{"bytes": deep.getvalue(), "path": None}])
    with pytest.raises(UsageError, match="sample 2: image 1 is of mode I;16 with values from 40"):
        qtuning.score(data, model, progress=False)


@pytest.fixture(scope="module")
def blind(model):
    return qtuning.score(vision.dataset(8), model, without_images=True, progress=False)


def test_answers_are_scored_without_their_images_as_in_training(blind, model, tmp_path) -> None:
    trainer = vision.trainer(tmp_path, "llava", data=vision.dataset(8), sample_pruner="image-gain")
    trainer.args.max_steps = 1
    trainer.train()
    trainer.model.load_state_dict(type(trainer.model).from_pretrained(model).state_dict())
    step = trainer._step_pruner
    rows = [dict(row) for row in trainer.train_dataset]
    candidates = step.candidates([rows], 8)
    trainer.model.eval()
    step._score(trainer.model, trainer.model, candidates, frozenset({WITHOUT_IMAGE}))
    for candidate, row in zip(candidates, blind, strict=True):
        mean = float(candidate.extras[WITHOUT_IMAGE][0])
        if not row["images"]:
            assert row["nll_without_images_sum"] is None
            assert mean != mean
            continue
        assert row["nll_without_images_sum"] / row["n_tokens"] == pytest.approx(mean, rel=1e-4)
        assert row["nll_without_images_sum"] != pytest.approx(row["nll_sum"], rel=1e-6)


def test_gains_by_images_decide_offline(blind) -> None:
    gains = {
        k: (row["nll_without_images_sum"] - row["nll_sum"]) / row["n_tokens"]
        for k, row in enumerate(blind)
        if row["images"]
    }
    best = sorted(gains, key=lambda k: -gains[k])[:4]
    rules = {"sample_pruner": "image-gain", "token_ratio": 1.0}
    found = qtuning.prune(blind, sample_ratio=0.5, with_dropped=True, **rules)
    assert [k for k, row in enumerate(found) if row["kept"]] == sorted(best)


def test_gains_by_images_need_a_second_pass_over_images(scored, model, blind) -> None:
    rules = {"sample_pruner": "image-gain", "sample_ratio": 0.5, "token_ratio": 1.0}
    with pytest.raises(UsageError, match="score with --without_images"):
        qtuning.prune(scored, **rules)
    without = [k for k, row in enumerate(blind) if not row["images"]]
    with pytest.raises(UsageError, match="none of the rows has images"):
        qtuning.prune(blind.select(without), **rules)
    with pytest.raises(UsageError, match="prune_unit turn on data with images"):
        qtuning.score(vision.dataset(2), model, prune_unit="turn", progress=False)
    text = vision.dataset(2).remove_columns("images")
    with pytest.raises(UsageError, match="--without_images on data without a column images"):
        qtuning.score(text, model, without_images=True, progress=False)
