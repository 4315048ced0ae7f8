"""What a run says about its budget is true: at the start, on the way and at the end."""

import math
from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtuning.arguments import PruningArguments
from qtuning.core.ratio import share
from qtuning.examples.candidate import CandidateRow as Row
from qtuning.pruners.pair import Pruners
from qtuning.pruners.registry import resolve_sample_pruner
from qtuning.run.budget import (
    break_even,
    budget_table,
    scoring_cost,
    speed_up_bound,
    training_cost,
)
from qtuning.run.messages import MetricWindow, print_budget, start_lines, step_metrics
from qtuning.step.decide import Decisions, decide
from qtuning.step.moment import Moment
from qtuning.step.two_pass import StepResult
from qtuning.step.work import StepCounts

NAMES = [field.name for field in fields(StepCounts)]


def numbered(factor: int = 1) -> StepCounts:
    return StepCounts(**{name: factor * i for i, name in enumerate(NAMES, 1)})


# A run at 25% x 50%, 1,000 candidates of 10 answer and 20 input tokens; a minute of training.
RUN = StepCounts(
    steps=10,
    samples=1000,
    kept_samples=250,
    answer_tokens=10_000,
    kept_answer_tokens=1_500,
    input_tokens=20_000,
    scored_tokens=20_000,
    trained_tokens=5_000,
    scoring_seconds=20.0,
    selection_seconds=5.0,
    collation_seconds=5.0,
    training_seconds=50.0,
    total_seconds=90.0,
)


def test_every_count_is_added():
    counts = numbered()
    counts.add(numbered(10))
    assert asdict(counts) == asdict(numbered(11))


def test_counts_survive_a_checkpoint():
    counts = StepCounts()
    counts.load_state_dict(numbered(3).state_dict())
    assert counts == numbered(3)
    assert list(counts.state_dict()) == NAMES
    counts.add(numbered())
    assert counts == numbered(4)


@pytest.mark.parametrize(
    ("trained", "checkpointing", "cost"),
    [(1.0, False, 3.0), (1.0, True, 4.0), (0.5, False, 2.5), (0.0, False, 2.0), (0.0, True, 3.0)],
)
def test_training_costs_a_forward_and_a_backward_for_what_is_trained(trained, checkpointing, cost):
    assert training_cost(trained, checkpointing) == cost


@pytest.mark.parametrize(
    ("ratio", "cost", "scoring", "bound"),
    [
        (0.25, 3.0, 1.0, 12 / 7),
        (0.125, 3.0, 1.0, 24 / 11),
        (0.25, 3.0, 0.0, 4.0),
        (0.25, 3.0, 0.25, 3.0),
        (0.25, 4.0, 1.0, 2.0),
        (1.0, 3.0, 1.0, 0.75),
    ],
)
def test_the_speed_up_is_bounded(ratio, cost, scoring, bound):
    assert speed_up_bound(ratio, cost, scoring) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("share_anew", "epochs", "known", "cost"),
    [
        (1.0, 3, False, 1.0),
        (0.1, 3, False, 0.4),  # all, a tenth, a tenth
        (0.1, 3, True, 0.1),
        (0.0, 4, False, 0.25),  # a scorer that does not learn
        (0.25, 0.5, False, 1.0),  # half an epoch: nothing is seen twice
    ],
)
def test_scoring_costs_less_where_samples_are_known(share_anew, epochs, known, cost):
    assert scoring_cost(share_anew, epochs, known) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("share_anew", "epochs", "known", "more", "cost"),
    [
        (0.0, 3, True, {}, 0.0),  # scored before the run, and never again
        (0.0, 3, True, {"kept_share": 0.25}, 0.25),  # what is kept, for its tokens
        (0.1, 3, False, {"kept_share": 0.5}, 0.4 + 0.6 * 0.5),
        (1.0, 3, False, {"kept_share": 0.5}, 1.0),  # all are scored already
        (1.0, 4, False, {"reference": 1.0}, 1.25),  # the model before training, once
        (1.0, 2, False, {"reference": 0.5}, 1.25),  # one of half the size
    ],
)
def test_what_scoring_costs_beyond_the_decision_is_counted(share_anew, epochs, known, more, cost):
    assert scoring_cost(share_anew, epochs, known, **more) == pytest.approx(cost)


def test_a_second_pass_is_told_where_there_is_one():
    assert (
        "and a second pass over the answers without their prompts"
        in lines(sample_pruner="gain-high")[1]
    )
    assert "second pass" not in lines()[1]


@given(cost=st.floats(1.5, 5))
def test_at_break_even_scoring_costs_what_pruning_saves(cost):
    assert speed_up_bound(break_even(cost), cost, 1.0) == pytest.approx(1.0)
    assert speed_up_bound(break_even(cost, 0.4), cost, 0.4) == pytest.approx(1.0)


def test_break_even_of_full_training_is_two_thirds():
    assert break_even(3.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("part", "whole", "result"), [(1, 4, 0.25), (0, 4, 0), (3, 0, 0)])
def test_a_share_of_nothing_is_nothing(part, whole, result):
    assert share(part, whole) == result


def test_the_table_of_a_run_by_hand():
    # Training took 60 s for 5,000 of 20,000 tokens, so a full run 240 s: 90 s are 37.5% of it.
    assert budget_table(RUN, 0.25, 0.5) == [
        ("samples trained on", "25.0%", "25.0% (250 of 1,000)"),
        ("answer tokens trained on", "12.5%", "15.0% (1,500 of 10,000)"),
        ("forward tokens, scoring and training", "-", "125.0% (25,000 of 20,000)"),
        ("backward tokens", "-", "25.0% (5,000 of 20,000)"),
        ("time: scoring", "-", "22.2% (20.0 s)"),
        ("time: selection", "-", "5.6% (5.0 s)"),
        ("time: collation", "-", "5.6% (5.0 s)"),
        ("time: training, forward and backward", "-", "55.6% (50.0 s)"),
        ("time: optimizer and the rest", "-", "11.1% (10.0 s)"),
        # 50 s for a quarter of the tokens, so 200 s for all, and 10 s as before
        ("time: all, of a full run (estimated)", "-", "42.9% (90.0 s)"),
    ]


def test_the_table_names_what_was_left_out():
    counts = StepCounts(**{**asdict(RUN), "bad_samples": 2, "empty_samples": 1234})
    assert budget_table(counts, 0.25, 0.5)[-2:] == [
        ("left out: NaN or infinite loss", "-", "2 samples"),
        ("left out: no answer tokens", "-", "1,234 samples"),
    ]


def test_the_table_of_a_run_that_did_nothing_has_only_zeros():
    rows = budget_table(StepCounts(), 0.25, 0.5)
    assert all(actual.startswith("0.0% (0") for _, _, actual in rows)


def test_the_table_is_printed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_budget(RUN, PruningArguments())
    printed = capsys.readouterr().out
    for row in budget_table(RUN, 0.25, 0.5):
        assert all(cell in printed for cell in row)


def lines(candidates: int = 32, pool: int = 32, cost: float = 3.0, **changes) -> list[str]:
    args = PruningArguments(**changes)
    return start_lines(args, Pruners.of(args), candidates, pool, cost)


def test_the_start_tells_budget_and_bound():
    assert lines() == [
        "Pruning: q-tuning x q-tuning at 25.0% x 50.0%; each optimizer step has 32 candidates "
        "and trains on 8.",
        "Speed-up over training on all candidates: at most 1.71x, counted in passes over samples "
        "of equal length (training on a token: 3.00 forward passes; scoring: 1.00).",
    ]
    random = lines(sample_pruner="random", token_pruner="random")
    assert "at most 4.00x" in random[1]
    assert "scoring: 0" in random[1]


def test_without_pruning_there_is_no_bound():
    (line,) = lines(sample_ratio=1.0, token_ratio=1.0)
    assert line == "Pruning: none; each optimizer step trains on all of its 32 candidates."
    assert len(lines(sample_pruner="full", token_pruner="none")) == 1


@pytest.mark.parametrize(
    "setting",
    [
        {"candidates": 32, "pool": 32},
        {"candidates": 2, "pool": 2},
        {"candidates": 10, "pool": 10, "sample_ratio": 0.29},
        {"candidates": 16, "pool": 2, "pool_scope": "micro"},
        pytest.param(
            {"candidates": 32, "pool": 32, "sample_pruner": "full"},
        ),
    ],
)
def test_the_number_told_is_the_number_kept(setting):
    told = lines(**setting)[0]
    candidates, pool = setting["candidates"], setting["pool"]
    args = PruningArguments(**{k: v for k, v in setting.items() if k not in ("candidates", "pool")})
    rows = [Row(i // pool, f"s{i}", 1.0 + i, 1.0, 3, 9, False, True) for i in range(candidates)]
    pruner = resolve_sample_pruner(args.sample_pruner)
    kept = sum(d.kept for d in decide([rows], pruner, args, Moment(1, 0)).decided)
    assert told.endswith(f"has {candidates} candidates and trains on {kept}.")


def warnings(**changes) -> str:
    return "\n".join(line for line in lines(**changes) if line.startswith("Warning"))


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"sample_ratio": 0.66}, False),
        ({"sample_ratio": 0.67}, True),
        ({"sample_ratio": 0.67, "cost": 4.0}, False),
        ({"sample_ratio": 0.9, "sample_pruner": "random", "token_pruner": "random"}, False),
    ],
)
def test_above_break_even_a_scored_run_is_warned(changes, warned):
    assert ("slower than full training" in warnings(**changes)) == warned


ONE_PASS = {"one_pass": True, "pool_scope": "micro", "pool": 8}


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, True),
        ({"sample_ratio": 0.66}, True),
        ({"sample_ratio": 0.67}, False),
        ({"sample_ratio": 0.67, "cost": 4.0}, True),
        ({"sample_ratio": 1.0}, False),
    ],
)
def test_one_pass_saves_nothing_and_below_break_even_says_what_would(changes, warned):
    told = lines(**ONE_PASS, **changes)
    assert "at most 1.00x" in told[1]
    assert "cost of a full run" in told[1]
    assert ("two passes cost less" in warnings(**ONE_PASS, **changes)) == warned
    assert "slower than full training" not in warnings(**ONE_PASS, **changes)


def test_one_pass_without_scores_is_told_as_ever():
    random = {"sample_pruner": "random", "token_pruner": "random"}
    two = {"pool_scope": "micro", "pool": 8}
    assert lines(**ONE_PASS, **random) == lines(**two, **random)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [({"pool": 3}, True), ({"pool": 4}, False), ({"pool": 3, "sample_ratio": 1.0}, False)],
)
def test_pools_of_fewer_than_four_are_warned(changes, warned):
    assert ("too small to tell samples apart" in warnings(**changes)) == warned


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"pool_factor": 3, "prune_start": 0.1}, True),
        ({"pool_factor": 3, "prune_end": 0.9}, True),
        ({"pool_factor": 3}, False),
        ({"prune_start": 0.1}, False),
    ],
)
def test_larger_pools_in_a_window_are_warned_of_the_memory_outside_it(changes, warned):
    assert ("3 times per_device_train_batch_size" in warnings(**changes)) == warned


def result(ppl: list[float], pruner: str = "q-tuning", **counts) -> StepResult:
    rows = [Row(0, f"s{i}", x, 1.0 + (7 * i) % 5, 3, 9, False, True) for i, x in enumerate(ppl)]
    args = PruningArguments(sample_ratio=0.5)
    decisions: Decisions = decide([rows], resolve_sample_pruner(pruner), args, Moment(1, 0))
    return StepResult(
        [], 0, 0, 0, True, decisions, [], StepCounts(samples=8, kept_samples=4, **counts)
    )


def test_the_metrics_of_a_step_describe_the_plane():
    metrics = step_metrics(result([1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0], answer_tokens=24))
    assert all(name.startswith("pruning/") for name in metrics)
    assert all(math.isfinite(value) for value in metrics.values())
    shares = [metrics[f"pruning/{name}_share"] for name in ("q1", "q2", "q3", "q4", "band")]
    assert sum(shares) == pytest.approx(1.0)
    assert metrics["pruning/sample_share"] == 0.5
    assert 0.0 <= metrics["pruning/filled_share"] <= 1.0
    assert metrics["pruning/ppl_lo"] <= metrics["pruning/ppl_hi"]
    assert "pruning/bad_samples" not in metrics


def test_what_is_undefined_in_a_step_is_left_out_of_its_metrics():
    assert "pruning/rank_correlation" not in step_metrics(result([2.0] * 8))
    random = step_metrics(result([1.0, 2.0, 3.0], "random", bad_samples=1))
    assert random["pruning/bad_samples"] == 1
    assert not {name for name in random if "q1" in name or "alpha" in name or "filled" in name}


def test_a_window_gives_means_of_what_there_was_and_starts_anew():
    window = MetricWindow()
    assert window.take() == {}
    for metrics in ({"a": 1.0, "b": 5.0}, {"a": 2.0}, {"a": 6.0}):
        window.add(metrics)
    assert window.take() == {"a": 3.0, "b": 5.0}
    assert window.take() == {}
    window.add({"a": 4.0})
    assert window.take() == {"a": 4.0}
