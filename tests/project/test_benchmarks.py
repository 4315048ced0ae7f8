"""The benchmark in small: measure, go on, report. Nothing here is about how long anything took."""

import contextlib
import io
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtuning import QTuningConfig, read_ledger
from qtuning.run.initial_scores import check_initial_scores

from .. import processes, tiny

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import bound  # noqa: E402
import cases  # noqa: E402
import forward  # noqa: E402
import machine  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402
import sources  # noqa: E402
import speed  # noqa: E402
import subjects  # noqa: E402
import summary  # noqa: E402
import tables  # noqa: E402
import training  # noqa: E402


def measure(file: Path, *more: str) -> str:
    """What `speed.py` says; but for the first its workers are forked."""
    command = ["--suite", "tiny", "--output", str(file), "--repeats", "2", "--threads", "1", *more]
    start = iter([subprocess.run])
    before = signal.getsignal(signal.SIGTERM)
    said = io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            patch.setattr(
                speed,
                "subprocess",
                SimpleNamespace(
                    run=lambda *words, **how: next(start, processes.run)(*words, **how),
                    **{name: vars(subprocess)[name] for name in ("DEVNULL", "PIPE")},
                ),
            )
            assert speed.main(command) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    return said.getvalue()


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("benchmark") / "speed.json"
    return file, measure(file)


@pytest.mark.slow
def test_a_run_measures_each_case_and_leaves_out_unknown_switches(measured) -> None:
    file, said = measured
    content = json.loads(file.read_text())
    names = [(run["repeat"], run["method"]["name"]) for run in content["runs"]]
    methods = ["stock", "forward alone", "q-tuning 50% x 50% mask"]
    assert names == [(repeat, name) for repeat in (0, 1) for name in methods]
    assert said.count("left out: QTuningConfig has no no_such_field") == 1
    (session,) = content["sessions"]
    assert {"command", "date", "commit", "machine", "threads", "precision", "versions"} <= {
        *session
    }
    assert {"cpu", "cores", "memory_gib", "gpu"} <= {*session["machine"]}
    assert {"torch", "transformers", "trl", "accelerate"} <= {*session["versions"]}
    assert str(file.parent) not in json.dumps(session)


@pytest.mark.slow
def test_a_run_counts_tokens_and_memory(measured) -> None:
    content = json.loads(measured[0].read_text())
    for repeat in (0, 1):
        stock, alone, pruned = [run for run in content["runs"] if run["repeat"] == repeat]
        every = stock["counts"]["input_tokens"]
        assert every == alone["forward_tokens"] == pruned["counts"]["input_tokens"]
        assert stock["counts"]["trained_tokens"] == every
        assert stock["counts"]["answer_tokens"] == pruned["counts"]["answer_tokens"]
        assert stock["counts"]["steps"] == pruned["counts"]["steps"] == 2
        assert pruned["counts"]["scored_tokens"] == every
        assert 0 < pruned["counts"]["trained_tokens"] < every
        assert pruned["counts"]["kept_samples"] == 4
        assert stock["padded"]["trained"] >= every
        assert stock["padded"]["scored"] == 0 < pruned["padded"]["scored"]
        for run in (stock, pruned):
            assert 0 < run["passes_seconds"] < run["seconds"]
            assert 0 < run["memory_mib"]["loaded"] <= run["memory_mib"]["peak"]


@pytest.mark.slow
def test_what_is_measured_is_not_measured_again(measured) -> None:
    file, _ = measured
    before = file.read_bytes()
    assert measure(file, "--only", "stock|forward|q-tuning") == ""
    assert file.read_bytes() == before


@pytest.mark.slow
def test_a_report_of_it(measured, tmp_path, capsys) -> None:
    file = tmp_path / "speed.json"
    file.write_bytes(measured[0].read_bytes())
    assert report.main([str(file)]) == 0
    page = (tmp_path / "speed.md").read_text()
    assert "| stock | 1.000 |" in page
    assert "| q-tuning 50% x 50% mask |" in page
    assert "not yet run on a GPU" in page
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["speed-tiny-memory.png", "speed-tiny-shares.png", "speed-tiny-time.png"]
    assert all(f"({name})" in page for name in pictures)


def run(method: cases.Method, repeat: int = 0, **measured: Any) -> dict[str, Any]:
    """A measurement made up by hand."""
    setting = cases.Setting("by hand", "none", "alpaca", "full", rows=4)
    case = cases.Case("tiny", setting, method, repeat)
    told = {"source": "s", "data": {"source": "alpaca"}, "session": 0, "threads": 2}
    return {**told, **case.to_dict(), "cpu_seconds": measured["seconds"] * 1.9, **measured}


def counts(**given: float) -> dict[str, float]:
    names = ("scoring_seconds", "selection_seconds", "collation_seconds", "scored_tokens")
    return {**dict.fromkeys(names, 0), "steps": 2, "input_tokens": 1000, **given}


def by_hand(repeat: int = 0, slower: float = 1.0) -> list[dict[str, Any]]:
    """Forward 500 tokens/s, training 125 tokens/s, a step's rest 1 s."""
    memory = {"loaded": 100.0, "resting": 110.0, "peak": 300.0}
    full = {"seconds": 10.0, "passes_seconds": 8.0, "padded": {"trained": 1100, "scored": 0}}
    pruned = {
        "seconds": 6.5 * slower,
        "passes_seconds": 2.5,
        "padded": {"trained": 260, "scored": 1240},
        "memory_mib": {**memory, "peak": 200.0},
        "counts": counts(
            scored_tokens=1000, trained_tokens=250, scoring_seconds=2.6, selection_seconds=0.13
        ),
    }
    return [
        run(cases.STOCK, repeat, memory_mib=memory, counts=counts(trained_tokens=1000), **full),
        run(cases.FORWARD, repeat, seconds=2.0, forward_tokens=1000, padded={"scored": 1200}),
        run(cases.Q25, repeat, **pruned),
    ]


def test_the_bound_on_numbers_made_by_hand() -> None:
    stock, alone, pruned = by_hand()
    assert summary.speeds(stock, alone) == bound.Speeds(forward=500.0, training=125.0, rest=1.0)
    assert summary.bound_of(pruned, stock, alone) == 2.0 + 2.0 + 2.0
    strict = summary.speeds(stock, alone, strict=True)
    assert strict == bound.Speeds(forward=600.0, training=137.5, rest=1.0)
    strictly = summary.bound_of(pruned, stock, alone, strict=True)
    assert strictly == pytest.approx(1000 / 600 + 250 / 137.5 + 2)
    assert bound.token_bound(1000, 250, 1000) == pytest.approx((1 + 3 * 0.25) / 3)


@given(
    ratio=st.floats(0.01, 1.0),
    tokens=st.integers(1_000, 10**9),
    speed=st.floats(1.0, 1e6),
)
def test_the_bound_is_the_plain_count_where_training_costs_three_forwards(
    ratio: float, tokens: int, speed: float
) -> None:
    kept = round(ratio * tokens)
    speeds = bound.Speeds(forward=3 * speed, training=speed, rest=0.0)
    least = bound.bound_seconds(tokens, kept, 1, speeds)
    full = tokens / speed
    assert least / full == pytest.approx(bound.token_bound(tokens, kept, tokens))
    assert least / full == pytest.approx((1 + 3 * kept / tokens) / 3)


def test_rows_are_paired_by_repeat() -> None:
    runs = by_hand(0) + by_hand(1, slower=1.2) + by_hand(2, slower=1.1)
    stock, pruned = summary.rows(runs, "by hand")
    assert (stock.ratio, stock.bound) == ((1.0, 1.0, 1.0), None)
    assert pruned.repeats == 3
    assert pruned.ratio == pytest.approx((0.715, 0.65, 0.78))
    assert pruned.bound == pytest.approx((0.6, 0.6, 0.6))
    assert pruned.over_bound == pytest.approx((7.15 / 6, 6.5 / 6, 7.8 / 6))
    assert pruned.over_strict.median == pytest.approx(7.15 / (1000 / 600 + 250 / 137.5 + 2))
    assert (pruned.forward, pruned.backward) == (1.25, 0.25)
    assert pruned.padding == pytest.approx(1500 / 1250)
    assert (pruned.peak.median, pruned.working.median) == (200.0, 100.0)
    assert pruned.tokens_a_second.high == pytest.approx(1000 / 6.5)


def test_shares_of_the_time_sum_to_one() -> None:
    _, pruned = summary.rows(by_hand(), "by hand")
    assert pruned.shares["scoring"] == pytest.approx(0.4)
    assert pruned.shares["selection"] == pytest.approx(0.02)
    assert sum(pruned.shares.values()) == pytest.approx(1.0)


def test_a_row_needs_no_bound_and_no_stock_run() -> None:
    stock, _, pruned = by_hand()
    assert summary.rows([stock, pruned], "by hand")[1].bound is None
    (alone,) = summary.rows([pruned], "by hand")
    assert (alone.ratio, alone.bound, alone.over_bound) == (None, None, None)


def content_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    session = machine.session(["--suite", "tiny", "--model", "/some/where/smollm2"], threads=1)
    return {"schema": 1, "sessions": [session], "runs": runs}


def test_tables_say_what_was_measured() -> None:
    runs = by_hand(0) + by_hand(1, slower=1.2)
    page = tables.document(content_of(runs))
    assert "| q-tuning 25% x 50% mask | 0.715 (0.650 to 0.780) | 0.600 |" in page
    assert "2 repeats, each with other rows" in page
    assert "The processes had at least 95% of the cores' time" in page
    assert "measure again" not in page
    runs[0]["source"] = "older"
    assert "measure again" in tables.document(content_of(runs))


def test_tables_and_figures_of_forward_passes(tmp_path) -> None:
    kinds = {"backbone": 150.0, "scoring": 160.0, "logits": 500.0}
    runs = [
        run(
            cases.Method(f"{kind} alone", f"peak-{kind}"),
            seconds=1.0,
            memory_mib={"loaded": 100.0, "resting": 100.0, "peak": peak},
        )
        for kind, peak in kinds.items()
    ]
    page = tables.document(content_of(runs))
    assert "| scoring alone | 60 MiB | 1.20 | 1.00 |" in page
    (picture,) = plots.draw(content_of(runs), tmp_path, "speed")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_command_line_without_the_folders_of_a_machine() -> None:
    said = machine.command(["--model", "/some/where/smollm2", "--repeats", "3"])
    assert said == "python benchmarks/speed.py --model smollm2 --repeats 3"


@pytest.mark.parametrize("suite", cases.SUITES)
def test_plans_are_interleaved_and_survive_json(suite: str) -> None:
    planned = cases.plan([suite], repeats=2)
    assert len({case.name for case in planned}) == len(planned)
    for case in planned:
        assert cases.Case.from_dict(json.loads(json.dumps(case.to_dict()))) == case
    order = [(case.setting.name, case.repeat) for case in planned]
    assert sorted(set(order), key=order.index) == [
        (name, repeat)
        for name in dict.fromkeys(name for name, _ in order)
        for repeat in range(1 if suite in cases.ONCE else 2)
    ]


def test_only_picks_by_name() -> None:
    (case,) = cases.plan(["smollm2"], repeats=3, only="gsm8k-full/stock/2")
    assert (case.method, case.repeat) == (cases.STOCK, 2)


def test_counted_rows_fill_whole_steps() -> None:
    for case in cases.plan(list(cases.SUITES), repeats=1):
        batch = case.method.batch or case.setting.batch
        a_step = batch * case.setting.accumulation * case.method.options.get("pool_factor", 1)
        assert case.method.kind.startswith("peak-") or case.setting.rows % a_step == 0, case.name


def test_the_key_knows_everything_that_matters() -> None:
    first, other = cases.plan(["tiny"], repeats=2)[::4][:2]
    keys = {
        speed.key_of(case, None, None, threads) for case in (first, other) for threads in (1, 2)
    }
    assert len(keys) == 4
    assert speed.key_of(first, None, None, 1) in keys


def test_a_case_measured_again_takes_its_own_place(tmp_path) -> None:
    file = tmp_path / "speed.json"
    for key in ("old", "new"):
        results = speed.Results(file, {"command": key})
        for one in by_hand():
            results.add({"key": f"{key} {one['method']['name']}", **one})
    content = json.loads(file.read_text())
    assert [one["key"] for one in content["runs"]] == [
        "new stock",
        "new forward alone",
        "new q-tuning 25% x 50% mask",
    ]
    assert [one["session"] for one in content["runs"]] == [1, 1, 1]
    assert list(tmp_path.iterdir()) == [file]


def test_rows_are_the_same_for_all_methods_and_others_in_each_repeat(tmp_path) -> None:
    stock, *_, pruned = cases.plan(["smollm2"], repeats=1, only="alpaca-lora")
    (tmp_path / "alpaca").mkdir()
    lines = [{"id": f"a{i}", "prompt": "p " * i, "completion": "c", "meta": {}} for i in range(99)]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "alpaca/train.jsonl").write_text(text)
    first, counted = subjects.rows(stock, tmp_path, 32)
    assert subjects.rows(pruned, tmp_path, 32)[1]["id"] == counted["id"]
    assert subjects.rows(stock._replace(repeat=1), tmp_path, 32)[1]["id"] != counted["id"]
    assert (len(first), len(counted)) == (32, 32)
    assert not {*counted["id"]} & {name.removeprefix("warm-up-") for name in first["id"]}
    assert max(len(prompt) for prompt in first["prompt"]) <= 80
    assert "sha256" in sources.describe_data("alpaca", tmp_path)


def test_generated_rows_say_that_they_are(tmp_path) -> None:
    case = cases.plan(["smollm2"], repeats=1)[0]
    _, counted = subjects.rows(case, tmp_path, 32)
    assert counted["id"][0] == "generated-32"
    assert "GENERATED" in sources.describe_data("alpaca", tmp_path)["source"]
    assert "GENERATED" in sources.describe_data("alpaca", None)["source"]


def test_generated_tokens_keep_to_the_length_and_the_vocabulary() -> None:
    case = cases.plan(["models"], repeats=1, only="seq128")[0]
    warm_up, counted = subjects.rows(case, None, 32)
    lengths = [len(ids) for ids in counted["input_ids"]]
    assert 16 <= min(lengths) < max(lengths) <= 128
    assert {len(ids) for ids in warm_up["input_ids"]} == {16}
    assert all(
        label in (-100, i)
        for row in counted
        for i, label in zip(row["input_ids"], row["labels"], strict=True)
    )


def test_earlier_scores_are_a_ledger_of_each_rows_own_statistics(tmp_path) -> None:
    model = tiny.llama()
    rows = [
        {"input_ids": [5 + i] * (4 + i), "labels": [-100, *[5 + i] * (3 + i)]} for i in range(5)
    ]
    ids = [f"r{i}" for i in range(5)]
    took = training.score_earlier(model, rows, ids, 2, tmp_path / "earlier")
    assert {*took} == {"earlier_scores_seconds"}
    assert model.training
    assert check_initial_scores(str(tmp_path / "earlier"))
    ledger = {row["sample_id"]: row for row in read_ledger(tmp_path / "earlier").to_pylist()}
    assert {*ledger} == {*ids}
    for name, row in zip(ids, rows, strict=True):
        tokens = torch.tensor([row["input_ids"]])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=tokens, labels=torch.tensor([row["labels"]])).loss
        assert ledger[name]["ppl"] == pytest.approx(math.exp(loss), rel=0.05)
        assert ledger[name]["n_tokens"] == len(tokens[0]) - 1


@pytest.mark.parametrize("kind", ["backbone", "scoring", "logits"])
def test_a_single_forward_is_measured_whatever_it_makes(kind: str) -> None:
    rows = [{"input_ids": [5] * n, "labels": [5] * n} for n in (4, 9)]
    found = forward.measure_peak(kind, tiny.llama(), rows)
    assert found["forward_tokens"] == 13
    assert found["memory_mib"]["peak"] > 0


def test_batches_hold_every_sample_once_longest_first() -> None:
    rows = [{"input_ids": [n] * n, "labels": [-100, *[n] * (n - 1)]} for n in (3, 7, 2, 5, 4)]
    batches = forward.batches_by_length(rows, 2)
    assert [tuple(batch["input_ids"].shape) for batch in batches] == [(2, 7), (2, 4), (1, 2)]
    assert sum(int(batch["attention_mask"].sum()) for batch in batches) == 21
    for batch in batches:
        assert bool((batch["labels"][batch["attention_mask"] == 0] == -100).all())


def test_every_method_is_one_that_the_library_accepts(tmp_path) -> None:
    for case in cases.plan([name for name in cases.SUITES if name != "tiny"], repeats=1):
        if case.method.kind != "pruning":
            continue
        options = dict(case.method.options)
        if case.method.earlier_scores:
            options["initial_scores"] = str(tmp_path)
        if case.method.small_scorer:
            options["scorer_model_name_or_path"] = str(tmp_path)
        training.check_switches(case)
        config = QTuningConfig(**training.settings_of(case, tmp_path), **options)
        assert config.sample_ratio == options["sample_ratio"], case.name


def test_a_smaller_scorers_padding_is_not_seen() -> None:
    runs = by_hand()
    runs[2]["padded"]["scored"] = 0
    assert summary.rows(runs, "by hand")[1].padding == pytest.approx(260 / 250)
