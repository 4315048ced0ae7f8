"""The benchmark of GPUs, in small on the CPU: all its sections run, and the page has them."""

import json
import time
import warnings
from collections import Counter
from pathlib import Path

import datasets
import gpu
import gpu_heads
import gpu_steps
import gpu_subjects
import gpu_tables
import gpu_waits
import pytest
import torch
from transformers.utils import logging

from .. import tiny

BENCHMARKS = Path(gpu.__file__).parent


@pytest.fixture(scope="module", autouse=True)
def quiet_here_alone():
    """Leave other tests of the process the log level and the bars that the script turns off."""
    level = logging.get_verbosity()
    yield
    logging.set_verbosity(level)
    logging.enable_progress_bar()
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    file = tmp_path_factory.mktemp("gpu") / "gpu.json"
    assert gpu.main(["--tiny", "--output", str(file), "--minutes", "60"]) == 0
    return file


@pytest.mark.slow
def test_every_section_runs(measured) -> None:
    content = json.loads(measured.read_text())
    sections = {one["name"]: one["said"] for one in content["sections"]}
    assert set(sections.values()) == {"done"}, sections
    kinds = {"checks", "heads", "pruners", "steps", "bounds", "waits", "scoring"}
    assert all(content[kind] for kind in kinds)
    assert all(one["ok"] and one["repeats_itself"] for one in content["checks"])
    assert all(one["ok"] for one in content["pruners"])
    assert "python benchmarks/gpu.py" in content["session"]["command"]
    stock, ours = [one for one in content["steps"] if one["setting"] == "1.7B, lima"]
    assert len(stock["seconds"]) == len(ours["seconds"]) == 2
    assert (stock["passes"]["scoring"], stock["passes"]["training"]) == (0, 2)
    assert ours["passes"]["scoring"] > 0
    assert stock["shares"] == {}
    assert 0 < sum(ours["shares"].values()) <= 1
    assert ours["padded_tokens"]["training"] < stock["padded_tokens"]["training"]


@pytest.mark.slow
def test_our_head_is_exact_in_float32_and_both_are_compared(measured) -> None:
    heads = json.loads(measured.read_text())["heads"]
    ours = [one for one in heads if (one["way"], one["precision"]) == ("ours", "float32")]
    assert all(one["ok"] and one["log_ppl_mean"] < 1e-5 for one in ours)
    bf16 = [one for one in heads if (one["way"], one["precision"]) == ("ours", "bf16 weights")]
    assert all(one["log_ppl_mean"] > 1e-5 for one in bf16)


@pytest.mark.slow
def test_the_page_has_all_tables(measured) -> None:
    page = measured.with_suffix(".md").read_text()
    assert page == gpu_tables.document(json.loads(measured.read_text()))
    for title in ("Goals", "Checks", "Heads", "Steps: 1.7B, lima", "Steps: 135M, gsm8k"):
        assert f"## {title}\n" in page
    assert "| ratio 1.0 is the stock trainer, bit by bit | yes | yes | 0 |" in page
    assert "| bound at 12.5% |" in page
    assert "no figure here means anything" in page
    assert "| 8B, 12.5% x 50%, of stock | not measured | 0.45 |" in page


def test_sections_are_left_out_when_the_time_is_over(tmp_path, capsys) -> None:
    file = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--output", str(file), "--minutes", "0"]) == 0
    said = {one["said"] for one in json.loads(file.read_text())["sections"]}
    assert said == {"left out: the time is over"}
    assert "ratio 1.0: left out: the time is over" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_says_so(tmp_path, capsys) -> None:
    assert gpu.main(["--output", str(tmp_path / "gpu.json")]) == 2
    assert capsys.readouterr().err.splitlines() == [gpu.NO_GPU]
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nowhere"], "--model nowhere: config.json is missing; name a saved model"),
        (["--data", "."], "--data needs --model, whose tokens its rows become"),
    ],
)
def test_options_that_cannot_be_are_refused(words, said, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--tiny", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_section_that_fails_is_written_down_and_the_next_one_runs(tmp_path) -> None:
    def broken():
        yield {"way": "a", "a_step": 1, "in_scoring_and_selection": 1, "where": {}}
        raise torch.OutOfMemoryError("out of memory")

    results = gpu.Results(tmp_path / "gpu.json", gpu.session([], 1, "gpu.py"))
    place = here(tmp_path)
    gpu.run(place, results, "broken", "waits", broken(), 0.0)
    gpu.run(place, results, "whole", "waits", iter([]), 0.0)
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert [one["said"] for one in content["sections"]] == [
        "FAILED: OutOfMemoryError: out of memory",
        "done",
    ]
    assert len(content["waits"]) == 1
    assert not gpu_tables.holds(content)


def here(folder, **more):
    ends = time.perf_counter() + 3600
    return gpu_subjects.Place(torch.device("cpu"), True, folder, ends, **more)


@pytest.mark.parametrize(("data", "mean", "most"), [("gsm8k", 153, 600), ("lima", 520, 1024)])
def test_lengths_are_those_of_the_data_sets(tmp_path, data, mean, most) -> None:
    place = gpu_subjects.Place(torch.device("cpu"), False, tmp_path, 0.0)
    made = gpu_subjects.rows(place, "135M", data, 2000, 0)
    lengths = [len(ids) for ids in made["input_ids"]]
    assert sum(lengths) / len(lengths) == pytest.approx(mean, rel=0.05)
    assert max(lengths) <= most
    assert all(any(label != -100 for label in labels) for labels in made["labels"])


def test_a_given_model_and_its_rows_take_the_place_of_random_ones(tmp_path) -> None:
    folder = tiny.save_model(tmp_path / "model")
    (tmp_path / "gsm8k").mkdir()
    row = {"prompt": "1 + 1 =", "completion": " 2"}
    (tmp_path / "gsm8k/train.jsonl").write_text(json.dumps(row) + "\n")
    place = here(tmp_path, model=folder, data=tmp_path)
    assert place.small == gpu_subjects.GIVEN
    model = gpu_subjects.build(place, place.small, torch.float32)
    assert model.config.hidden_size == 32
    (made,) = gpu_subjects.rows(place, place.small, "gsm8k", 1, 0)
    words = tiny.tokenizer().decode([i for i in made["labels"] if i != -100])
    assert "2" in words
    assert "1" not in words
    (random,) = gpu_subjects.rows(place, place.small, "lima", 1, 0)
    assert max(random["input_ids"]) < len(tiny.tokenizer())


def run(way, number, *seconds):
    return {
        "setting": "1.7B, lima",
        "way": way,
        "round": number,
        "seconds": list(seconds),
        "shares": {},
        "passes": {"scoring": 0, "training": 4},
        "peak_gib": 10.0,
    }


def test_ratios_are_taken_within_a_round() -> None:
    q = "q-tuning 12.5% x 50%"
    runs = [run("stock", 0, 1.0, 2.0, 1.0), run(q, 0, 0.5, 0.5, 0.9)]
    runs += [run("stock", 1, 2.0), run(q, 1, 1.2), run(q, 2, 9.0)]
    assert gpu_tables.of_stock(runs, q) == pytest.approx([0.5, 0.6])
    assert gpu_tables.slowest(runs[:1]) == 2.0


def test_what_does_not_repeat_itself_proves_nothing() -> None:
    content = {"heads": [], "pruners": [], "sections": []}
    check = {"claim": "c", "ok": False, "furthest": 1.0}
    assert gpu_tables.holds({**content, "checks": [{**check, "repeats_itself": False}]})
    assert not gpu_tables.holds({**content, "checks": [{**check, "repeats_itself": True}]})


def test_operators_that_wait_are_counted(tmp_path) -> None:
    counts = Counter[str]()
    x = torch.arange(4.0)
    with gpu_waits.Operators(counts):
        x + 1
        x[torch.tensor([0, 2])]
        assert not counts
        x[x > 1]
        float(x.sum())
    assert sum(counts.values()) == 2


def test_warnings_of_torch_are_counted_by_place(tmp_path) -> None:
    window = gpu_waits.Window(here(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = window._show
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert window.counts == {"elsewhere": 1}


def test_a_profile_is_read_with_this_version_of_torch() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.ones(3).sum()
    assert gpu_waits._read(profile, 1.0) == {"seconds": 1.0, "busy": 0.0, "calls": {}}


def test_passes_hold_every_row_once(tmp_path) -> None:
    groups = gpu_heads._passes(here(tmp_path), "gsm8k", 40)
    assert sum(len(batch["input_ids"]) for batch in groups) == 40
    assert all(batch["input_ids"].numel() <= gpu_heads.PASS_TOKENS for batch in groups)


def test_the_makefile_and_the_page_name_it() -> None:
    assert "gpu.py" in (BENCHMARKS / "README.md").read_text()
    assert "benchmarks/gpu.py" in (BENCHMARKS.parent / "Makefile").read_text()
    assert gpu_steps.settings(here(BENCHMARKS))[0].ways[0] == "stock"
