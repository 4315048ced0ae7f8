"""The study around its cells: data, keys, the driver and the tables."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import quality
import quality_data
import quality_study as study
import quality_table as table
from quality_numbers import pack_bits

from .. import tiny

RATIO = 0.25


def write_data(folder: Path, names=("svamp", "mawps", "alpaca"), n: int = 30) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for split in ("train", "test"):
            lines = [
                json.dumps(
                    {"id": f"{name}-{split}-{i}", "prompt": f"{i} + 1", "completion": f"{i}"}
                )
                for i in range(n)
            ]
            (folder / name / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7\n#### 7", 7),
        ("it is 3, no, 1,200.5", 1200.5),
        ("#### -4 and then 5", -4),
        ("2 = 2\n####", None),
        ("none", None),
    ],
)
def test_the_number_of_an_answer(text: str, number: float | None) -> None:
    assert quality_data.answer_number(text) == number


def test_right_answers() -> None:
    assert quality_data.is_right("2 + 2 = 4\n#### 4.0", "#### 4")
    assert not quality_data.is_right("2 + 2 = 5\n#### 5", "#### 4")
    assert not quality_data.is_right("I do not know", "#### 4")


def test_rows_are_the_same_each_time_and_never_both_in_and_out(tmp_path) -> None:
    data = write_data(tmp_path)
    setting = dataclasses.replace(study.WORD_PROBLEMS, rows=20)
    chosen, others = quality_data.training_rows(data, setting)
    assert chosen == quality_data.training_rows(data, setting)[0]
    assert len(chosen) == 20
    assert {r["id"] for r in chosen} | {r["id"] for r in others} == {
        f"{name}-train-{i}" for name in setting.datasets for i in range(30)
    }
    assert not {r["id"] for r in chosen} & {r["id"] for r in others}
    assert quality_data.test_rows(data, setting, 5) == quality_data.test_rows(data, setting, 9)[:5]
    assert quality_data.read_rows(data, ["svamp"], "test")[3]["prompt"] == "3 + 1\n"


def test_cells_of_a_method_that_is_there_for_scale() -> None:
    names = [cell.name for cell in study.cells(study.SETTINGS, study.METHODS, [4, 5])]
    assert len(names) == len(set(names))
    assert {name for name in names if "-full-" in name} == {"A-full-4", "B-full-4"}
    assert {name for name in names if name.startswith("B-exact-")} == {"B-exact-4", "B-exact-5"}
    assert all("-4" in name for name in names[: names.index("A-exact-5")])  # a seed after the other


def test_keys_follow_what_determines_a_cell() -> None:
    exact, small = study.method_named("exact"), study.method_named("small-scorer")
    setting = study.WORD_PROBLEMS

    def key(method=exact, seed=0, files=("a",), recipe=None, **changes) -> str:
        changed = dataclasses.replace(setting, **changes)
        return study.cell_key(study.Cell(changed, method, seed), files, recipe or {"layers": 1})

    keys = [key(), key(seed=1), key(files=("b",)), key(learning_rate=1.0), key(method=small)]
    keys.append(key(method=small, recipe={"layers": 2}))
    assert len(set(keys)) == len(keys)
    assert key(title="in other words") == key()
    assert key(recipe={"layers": 2}) == key()
    renamed = dataclasses.replace(exact, title="Q-Tuning", once=True)
    assert key(method=renamed) == key()


def test_fields_that_this_version_lacks() -> None:
    method = study.Method("x", "x", {"sample_ratio": 0.5, "no_such_switch": 1})
    assert study.missing_fields(method) == ["no_such_switch"]
    assert study.missing_fields(study.method_named("exact")) == []


def test_references() -> None:
    assert study.reference(study.LOW, "exact") == "exact"
    assert study.reference(study.HIGH, "random") == "micro-random"
    assert study.reference("", "exact") is None


def record(setting: str, method: str, seed: int, nll: float, kept: list[bool], **more) -> dict:
    budget = {
        "kept_answer_tokens": 10,
        "answer_tokens": 100,
        "scored_tokens": 500,
        "input_tokens": 1000,
        "scoring_seconds": 20.0,
        "total_seconds": more.pop("total", 80.0),
    }
    epochs = [{"order": "o", "n": len(kept), "kept": pack_bits(kept)}] * 3
    solved = {"accuracy": 0.1 * (seed + 1), "standard_error": 0.02}
    return {
        **({"task": solved} if setting == "A" else {}),
        "cell": f"{setting}-{method}-{seed}",
        "setting": setting,
        "method": method,
        "seed": seed,
        "budget": budget,
        "decisions": epochs,
        "held_out": {"nll": nll, "rows": 3},
        "seconds": {"load_and_train": 9.0, "evaluate": 1.0},
        **more,
    }


def whole(records: list[dict]) -> dict:
    return {
        "study": 1,
        "machine": {"cpu": "abacus", "cores": 2, "versions": {"torch": "2"}},
        "settings": {s.name: dataclasses.asdict(s) for s in study.SETTINGS},
        "methods": {m.name: dataclasses.asdict(m) for m in study.METHODS},
        "prepared": {},
        "cells": {one["cell"]: one for one in records},
    }


EXACT, HALF = [True, True, False, False], [True, False, True, False]
RECORDS = [
    *(record("A", "exact", seed, 1.0 + seed, EXACT) for seed in range(3)),
    *(record("A", "random", seed, 1.5 + seed, HALF, total=40.0) for seed in range(3)),
    *(record("A", "refresh-0.5", seed, 1.0 + seed + 0.1 * seed, EXACT) for seed in range(3)),
    record("A", "full", 0, 0.5, [True] * 4, total=200.0),
]


def test_differences_are_paired() -> None:
    results = table.Results(whole(RECORDS), "A")
    mean, half, _ = results.difference("random", "exact", table.nll)
    assert mean == pytest.approx(0.5)  # in every seed, though seeds differ by 1
    assert half == pytest.approx(0.0, abs=1e-12)
    mean, half, _ = results.difference("refresh-0.5", "exact", table.nll)
    assert (mean, half) == pytest.approx((0.1, 4.302653 * 0.1 / math.sqrt(3)))
    assert results.difference("exact", "exact", table.nll) is None
    assert results.difference("micro-exact", "exact", table.nll) is None


def test_agreement_by_epoch() -> None:
    results = table.Results(whole(RECORDS), "A")
    found = results.agreement("random", "exact")
    assert [one.mean for one in found] == pytest.approx([1 / 3] * 3)
    assert [one.mean for one in results.agreement("refresh-0.5", "exact")] == [1.0] * 3
    assert results.agreement("full", None) == []


def test_runs_with_other_pools_are_not_compared() -> None:
    other = record("A", "random", 0, 1.0, EXACT)
    other["decisions"] = [{**one, "order": "another"} for one in other["decisions"]]
    results = table.Results(whole([RECORDS[0], other]), "A")
    with pytest.raises(ValueError, match="pools differ"):
        results.agreement("random", "exact")


def test_the_page_says_what_is_there(tmp_path) -> None:
    page = table.report(whole(RECORDS))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    random = [line for line in lines if line[:2] == ["random", study.LOW]]
    assert random[0][3:6] == ["2.5000 ± 2.4841", "**+0.5000 ± 0.0000**", "-"]
    assert random[1][2:5] == ["0.33 ± 0.00"] * 3
    assert random[1][-1] == "0.50"
    full = [line for line in lines if line[:1] == ["all data"]]
    assert full[0][2:6] == ["1", "0.5000", "-", "-"]
    assert "## B" not in page  # nothing was run there
    assert "abacus" in page
    output = tmp_path / "quality.json"
    output.write_text(json.dumps(whole(RECORDS)))
    assert table.main([str(output)]) == 0
    assert output.with_suffix(".md").read_text() == page
    assert output.with_suffix(".png").stat().st_size > 1000


@pytest.fixture
def workplace(tmp_path):
    """Arguments of the driver, for a tiny model and data."""
    tiny.save_model(tmp_path / "model")
    write_data(tmp_path / "data")
    return [
        *("--output", str(tmp_path / "results" / "quality.json")),
        *("--work", str(tmp_path / "work")),
        *("--model", str(tmp_path / "model")),
        *("--data", str(tmp_path / "data")),
    ]


def test_done_cells_are_not_run_again(workplace, monkeypatch, capsys) -> None:
    ran = []

    def child(self, name, job):
        ran.append((job["config"].get("sample_pruner"), job["seed"]))
        found = record("A", "exact", job["seed"], 1.0, EXACT)
        return {k: v for k, v in found.items() if k in ("held_out", "task", "seconds", "budget")}

    monkeypatch.setattr(quality.Study, "child", child)
    arguments = [*workplace, "--seeds", "0", "1", "--only", "A-(exact|random)"]
    assert quality.main([*arguments, "--dry_run"]) == 0
    assert not ran
    assert quality.main(arguments) == 0
    assert ran == [(None, 0), ("random", 0), (None, 1), ("random", 1)]
    done = json.loads(Path(workplace[1]).read_text())
    assert sorted(one["cell"] for one in done["cells"].values()) == [
        *("A-exact-0", "A-exact-1", "A-random-0", "A-random-1"),
    ]
    before = Path(workplace[1]).read_bytes()
    assert quality.main(arguments) == 0
    assert len(ran) == 4
    assert Path(workplace[1]).read_bytes() == before
    assert "4 cells, 4 done" in capsys.readouterr().out


def test_a_failure_does_not_stop_the_others(workplace, monkeypatch, capsys) -> None:
    def child(self, name, job):
        if job["seed"] == 0:
            return None
        return {"held_out": {"nll": 1.0}, "seconds": {"load_and_train": 1.0}}

    monkeypatch.setattr(quality.Study, "child", child)
    arguments = [*workplace, "--seeds", "0", "1", "--only", "B-exact"]
    assert quality.main(arguments) == 1
    assert "failed: B-exact-0" in capsys.readouterr().out
    done = json.loads(Path(workplace[1]).read_text())["cells"].values()
    assert [one["cell"] for one in done] == ["B-exact-1"]


def test_what_a_method_needs_is_made_once(workplace, monkeypatch) -> None:
    jobs = []

    def child(self, name, job):
        jobs.append(job)
        folder = self.work / name
        folder.mkdir(parents=True)
        result = {"held_out": {"nll": 1.0}, "seconds": {"load_and_train": 1.0}}
        (folder / "result.json").write_text(json.dumps(result))
        return result

    monkeypatch.setattr(quality.Study, "child", child)
    monkeypatch.setattr(quality, "missing_fields", lambda method: [])
    only = "A-(initial-refresh-0.25|small-scorer|frozen-scorer)"
    assert quality.main([*workplace, "--seeds", "0", "1", "--only", only]) == 0
    kinds = [job["kind"] for job in jobs]
    assert (kinds.count("initial"), kinds.count("small"), kinds.count("cell")) == (1, 1, 6)
    configs = [job["config"] for job in jobs if job["kind"] == "cell"]
    assert configs[0]["initial_scores"].endswith("/run")
    assert configs[1]["scorer_model_name_or_path"].endswith("/model")
    assert configs[2]["scorer_model_name_or_path"] == workplace[5]


def test_a_crash_is_told(workplace, capsys) -> None:
    options = quality.read_options(workplace)
    one = quality.Study(options.output, options.work, options.model, options.data)
    (options.work / "x").mkdir(parents=True)
    quality_cell = quality.HERE / "quality_cell.py"
    assert quality_cell.is_file()
    assert one.child("x", {"kind": "no such kind"}) is None
    assert "KeyError: 'no such kind'" in capsys.readouterr().out
