"""Cells of one table are made alike: device, precision, and versions of what computes."""

import json
import re
from importlib import metadata

import pytest

from qtuning.commands.main import main
from qtuning.compare.grid import Data
from qtuning.compare.key import cell_key, determined_by
from qtuning.compare.made_with import made_with_here, refuse_mixed, versions
from qtuning.compare.runner import CELLS, Runner
from qtuning.errors import UsageError

from .test_grid import GRID, folder, grid_of  # noqa: F401 - a fixture

CPU = {"device": "cpu", "precision": "float32", "versions": {"torch": "2.6", "trl": "1.0"}}
GPU = {**CPU, "device": "cuda", "precision": "bfloat16 autocast"}


def cells(folder, n=2):  # noqa: F811
    return grid_of(folder).cells()[:n]


def test_the_versions_are_of_what_a_data_sets_cells_use():
    plain = versions(Data("d", ("x",)))
    assert plain.keys() == {"torch", "transformers", "trl", "accelerate", "datasets"}
    assert plain["torch"] == metadata.version("torch")
    more = versions(Data("d", ("x",), lora={"r": 2}, tasks=("piqa",)))
    assert more.keys() - plain.keys() == {"peft", "lm-eval"}


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("training", "precision"),
    [
        ({"bf16": True}, "bfloat16 autocast"),
        ({"bf16": False}, "float32"),
        ({"fp16": True}, "float16 autocast"),
    ],
)
def test_the_precision_is_that_of_the_settings(training, precision):
    made = made_with_here(Data("d", ("x",)), {"use_cpu": True, **training})
    assert (made["device"], made["precision"]) == ("cpu", precision)


def test_cells_that_are_made_alike_or_do_not_say_are_taken(folder, tmp_path):  # noqa: F811
    a, b, c = cells(folder, 3)
    old = {"precision": "float32", "torch_threads": 1}
    refuse_mixed([(a, {}), (b, CPU), (c, old)], tmp_path, lambda data: CPU)
    refuse_mixed([(a, {}), (b, old)], tmp_path, lambda data: CPU)
    refuse_mixed([], tmp_path, lambda data: GPU)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (GPU, "device cpu, precision float32, the cells still to run would be with device cuda, "),
        (
            {**CPU, "versions": {"torch": "2.7", "trl": "1.0", "peft": "1"}},
            "torch 2.6, the cells still to run would be with torch 2.7, ",
        ),
        ({"precision": "bfloat16 autocast"}, "precision float32, the cells still to run would be"),
    ],
)
def test_what_is_made_otherwise_is_refused_by_name(folder, tmp_path, other, said):  # noqa: F811
    a, b = cells(folder)
    with pytest.raises(UsageError, match=re.escape(f"{a.name!r} was made with {said}")) as refused:
        refuse_mixed([(a, CPU)], tmp_path, lambda data: other)
    assert "name another --output_dir" in str(refused.value)
    with pytest.raises(UsageError, match=re.escape(f"{b.name!r} was with")) as refused:
        refuse_mixed([(a, CPU), (b, other)], tmp_path)
    assert "move the cells of one kind to a folder of their own" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_data_sets_of_other_settings_may_differ(folder, tmp_path):  # noqa: F811
    sums = GRID["data"]["sums"]
    data = {"a": {**sums, "training": {"bf16": True}}, "b": {**sums, "training": {"bf16": False}}}
    grid = grid_of(folder, data=data)
    runner = Runner(grid, tmp_path / "out", 1, print)
    done = [(cell, runner._made_with(cell.data)) for cell in grid.cells()]
    assert len({record["precision"] for _, record in done}) == 2
    refuse_mixed(done, tmp_path, runner._made_with)


def test_the_command_refuses_before_anything_runs(folder, capsys):  # noqa: F811
    grid, out = grid_of(folder), folder / "out"
    command = ["compare", "--config", str(folder / "grid.yaml"), "--output_dir", str(out)]
    for cell in grid.cells()[:2]:
        name = cell_key(determined_by(cell, grid))
        made = {**made_with_here(cell.data, {}), "device": "abacus"}
        (out / CELLS).mkdir(parents=True, exist_ok=True)
        (out / CELLS / f"{name}.json").write_text(json.dumps({"cell": cell.name, **made}))
    assert main(command) == 2
    told = capsys.readouterr()
    assert "was made with device abacus, the cells still to run would be with device" in told.err
    assert not (out / "work").exists()
    record = json.loads((out / CELLS / f"{name}.json").read_text())
    record["versions"]["torch"] = "0.1"
    (out / CELLS / f"{name}.json").write_text(json.dumps(record))
    assert main([*command, "--tables_only"]) == 2
    assert "with torch 0.1" in capsys.readouterr().err
    assert not (out / "results.md").exists()


@pytest.mark.parametrize("changes", [{"device": 1}, {"versions": []}, {"versions": {"torch": 2}}])
def test_a_record_with_other_things_there_is_damaged(folder, changes):  # noqa: F811
    grid = grid_of(folder)
    runner = Runner(grid, folder / "out", 1, print)
    cell = grid.cells()[0]
    file = folder / "out" / CELLS / f"{cell_key(determined_by(cell, grid))}.json"
    file.write_text(json.dumps({"cell": cell.name, **changes}))
    with pytest.raises(UsageError, match="is damaged"):
        runner.result(cell)
