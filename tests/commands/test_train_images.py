"""``qtuning train`` on data with images, from files alone."""

import json

import pytest

from qtuning import UsageError, read_ledger
from qtuning.commands.main import main
from qtuning.io.image_rows import image_rows

from .. import device, vision

OPTIONS = "--max_length null --num_train_epochs 1 --per_device_train_batch_size 2"
OPTIONS += " --save_strategy no --report_to none --bf16 false --sample_ratio 0.5"


@pytest.fixture
def folder(tmp_path):
    vision.save(tmp_path / "model")
    return tmp_path


def write_paths(folder, n=8):
    """Rows whose pictures are files beside the data."""
    (folder / "pictures").mkdir()
    lines = []
    for k in range(n):
        row = vision.row(k)
        names = [f"pictures/{k}-{j}.png" for j in range(len(row["images"]))]
        for name, picture in zip(names, row["images"], strict=True):
            picture.save(folder / name)
        lines.append(json.dumps({**row, "images": names}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return folder / "rows.jsonl"


def write_parquet(folder):
    vision.dataset(8).to_parquet(str(folder / "rows.parquet"))
    return folder / "rows.parquet"


def train(folder, data):
    words = f"train --model_name_or_path {folder / 'model'} --dataset_name {data} {OPTIONS}"
    words += " " + " ".join(device.flags())
    return main([*words.split(), "--output_dir", str(folder / "out")])


@pytest.mark.parametrize("write", [write_paths, write_parquet])
def test_train_loads_a_vision_model_and_its_processor(folder, write) -> None:
    assert train(folder, write(folder)) == 0
    ledger = read_ledger(folder / "out")
    assert ledger.num_rows == 8
    assert sum(ledger["kept"].to_pylist()) == 4
    assert (folder / "out" / "processor_config.json").exists()


def test_a_picture_that_is_not_there_is_one_line(folder, capsys) -> None:
    data = write_paths(folder)
    (folder / "pictures" / "4-0.png").unlink()
    assert train(folder, data) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "sample 4: image 1 (pictures/4-0.png) cannot be read" in last


def test_columns_that_do_not_go_with_images_are_named(tmp_path) -> None:
    rows = vision.dataset(2).rename_column("prompt", "question")
    with pytest.raises(UsageError, match="data: beside one column image or images, rows need"):
        image_rows(rows, "data")
