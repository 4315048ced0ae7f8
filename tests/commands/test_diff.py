"""`qtuning diff`: what is shown and written, and that the data cannot do harm."""

import json

import pyarrow.parquet as pq
import pytest

from qtuning.commands.main import main
from qtuning.run.ledger import Ledger, LedgerRow

from .. import tiny
from ..offline.conftest import run_score

pytestmark = pytest.mark.usefixtures("one_thread")


def diff(*words):
    return main(["diff", *map(str, words)])


@pytest.fixture(scope="module")
def other_scores(rows, tmp_path_factory):
    """The same rows scored by another model."""
    folder = tmp_path_factory.mktemp("other")
    model = tiny.save_model(folder / "model", seed=5)
    assert run_score(model, rows, folder / "s.parquet", "--per_token") == 0
    return folder / "s.parquet"


@pytest.fixture
def runs(tmp_path):
    """Two runs of two epochs that agree more in the second."""
    for name, kept in (("a", "1100 1010"), ("b", "0011 1011")):
        with Ledger.start(tmp_path / name / "ledger") as ledger:
            for epoch, decisions in enumerate(kept.split()):
                ledger.append(
                    LedgerRow(
                        epoch, epoch + 1, f"s{i}", 2.0 + i, 0.5, 4, 2, k == "1", False, 4, True
                    )
                    for i, k in enumerate(decisions)
                )
    return tmp_path / "a", tmp_path / "b"


def test_two_models_at_one_budget(scores, other_scores, tmp_path, capsys):
    output = tmp_path / "d.json"
    assert diff(scores, other_scores, "--sample_ratio", "0.25", "--output", output) == 0
    told = json.loads(output.read_text())
    assert told["format"] == 1
    assert told["a"] == {
        "path": str(scores),
        "rows": 40,
        "kept": 10,
        "answer_tokens": sum(pq.read_table(scores)["n_tokens"].to_pylist()),
        "tokens_kept": told["a"]["tokens_kept"],
        "rule": {
            "sample_pruner": "q-tuning",
            "sample_ratio": 0.25,
            "token_pruner": "q-tuning",
            "token_ratio": 0.5,
        },
    }
    kept = told["kept"]
    assert kept["both"] + kept["only_a"] == kept["both"] + kept["only_b"] == 10
    assert len(told["differing"]) == kept["only_a"] + kept["only_b"] > 0
    assert sum(map(sum, told["quadrants"]["counts"])) == told["samples"]["both"] == 40
    assert told["epochs"] == []
    first = told["differing"][0]
    assert first.keys() == {"sample_id", "text", "a", "b"}
    assert first["a"].keys() == first["b"].keys()
    by_name = {row["id"]: row for row in tiny.rows(40)}
    assert first["text"] == by_name[first["sample_id"]]["prompt"]
    shown = capsys.readouterr().out
    tokens = f"{told['a']['tokens_kept']:,} of {told['a']['answer_tokens']:,} answer tokens"
    assert f"10 of 40 samples, {tokens} kept, by q-tuning at 25.0% x q-tuning at 50.0%" in shown
    assert "Jaccard" in shown
    assert first["sample_id"] in shown


def test_two_budgets_over_one_file(scores, tmp_path):
    output = tmp_path / "d.json"
    budgets = ["--sample_ratio", "0.125", "--against_sample_ratio", "0.25"]
    assert diff(scores, scores, *budgets, "--output", output) == 0
    told = json.loads(output.read_text())
    assert (told["a"]["kept"], told["b"]["kept"]) == (5, 10)
    assert told["rank_correlation"] == {"ppl": pytest.approx(1), "entropy": pytest.approx(1)}
    assert told["a"]["rule"]["sample_ratio"] == 0.125
    assert told["b"]["rule"]["sample_ratio"] == 0.25


def test_without_scores_of_tokens_nothing_is_claimed_of_them(scores, tmp_path, capsys):
    bare = tmp_path / "s.parquet"
    pq.write_table(pq.read_table(scores).drop_columns(["token_nll", "token_entropy"]), bare)
    assert diff(bare, bare, "--output", tmp_path / "d.json") == 0
    told = json.loads((tmp_path / "d.json").read_text())
    assert told["a"]["tokens_kept"] is told["a"]["rule"]["token_ratio"] is None
    assert "10 of 40 samples kept, by q-tuning at 25.0%\n" in capsys.readouterr().out


def test_two_pruners_over_one_file(scores, tmp_path):
    output = tmp_path / "d.json"
    assert diff(scores, scores, "--against_sample_pruner", "random", "--output", output) == 0
    assert json.loads(output.read_text())["b"]["rule"]["sample_pruner"] == "random"
    assert diff(scores, scores, "--against_sample_pruner", "uds") == 2


def test_a_pruned_file_against_the_scores_that_it_is_from(scores, tmp_path):
    pruned = tmp_path / "p.jsonl"
    command = ["prune", str(scores), "--output", str(pruned), "--format", "jsonl"]
    assert main([*command, "--with_dropped", "--sample_ratio", "0.25"]) == 0
    assert diff(pruned, scores, "--sample_ratio", "0.25", "--output", tmp_path / "d.json") == 0
    told = json.loads((tmp_path / "d.json").read_text())
    assert told["a"]["rule"] is None
    assert told["kept"]["jaccard"] == told["kept"]["kappa"] == 1.0
    assert told["differing"] == []


def test_kept_samples_alone_are_compared_with_a_hint(scores, tmp_path, capsys):
    pruned = tmp_path / "p.parquet"
    assert main(["prune", str(scores), "--output", str(pruned), "--sample_ratio", "0.25"]) == 0
    assert diff(pruned, scores) == 0
    shown = capsys.readouterr().out
    assert "Only in B: 30 samples" in shown
    assert "A holds kept samples alone" in shown


def test_runs_are_compared_by_the_last_decision_and_epoch_by_epoch(runs, tmp_path, capsys):
    assert diff(*runs, "--output", tmp_path / "d.json") == 0
    told = json.loads((tmp_path / "d.json").read_text())
    assert told["kept"]["jaccard"] == pytest.approx(2 / 3)
    assert [one["epoch"] for one in told["epochs"]] == [0, 1]
    assert [one["kept"]["jaccard"] for one in told["epochs"]] == [0.0, pytest.approx(2 / 3)]
    assert "Epoch by epoch" in capsys.readouterr().out
    assert diff(*runs, "--epoch", 0, "--output", tmp_path / "first.json") == 0
    told = json.loads((tmp_path / "first.json").read_text())
    assert told["kept"]["jaccard"] == 0.0
    assert told["epochs"] == []
    assert [one["sample_id"] for one in told["differing"]] == ["s0", "s1", "s2", "s3"]


def test_so_many_are_shown_as_asked_for(runs, capsys):
    assert diff(*runs, "--epoch", "0", "--show", "2") == 0
    shown = capsys.readouterr().out
    assert "the first 2 of 4" in shown
    assert "s1" in shown
    assert "s2" not in shown
    assert diff(*runs, "--epoch", "0", "--show", "0") == 0
    assert "Decided differently" not in capsys.readouterr().out


def test_text_of_the_data_is_shown_as_text(tmp_path, capsys):
    evil = "[red]markup[/red] \x1b[31mred [/nonsense]"
    for name, kept in (("a", True), ("b", False)):
        row = {"sample_id": "[bold]id\x07", "ppl": 2.0, "entropy": 1.0, "n_tokens": 3}
        row |= {"kept": kept, "quadrant": 2, "filled": False, "prompt": evil + "x" * 1000}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    assert diff(tmp_path / "a.jsonl", tmp_path / "b.jsonl") == 0
    shown = capsys.readouterr().out
    assert "[red]markup" in shown
    assert "[bold]id" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "x" * 100 not in shown


def test_what_only_one_has_is_counted_and_named(scores, tmp_path, capsys):
    half = tmp_path / "half.parquet"
    pq.write_table(pq.read_table(scores).slice(0, 30), half)
    assert diff(scores, half, "--token_ratio", "1.0") == 0
    assert "Only in A: 10 samples (s30, s31," in capsys.readouterr().out


def test_nothing_in_both_is_a_mistake(runs, scores, capsys):
    other = runs[0].parent / "other"
    with Ledger.start(other / "ledger") as ledger:
        ledger.append([LedgerRow(0, 1, "1.0.0", 2.0, 0.5, 4, 2, True, False, 4, True)])
    assert diff(scores, other) == 2
    assert "no sample is in both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name two files or folders"),
        (["{scores}"], "name two files or folders"),
        (["{scores}", "{scores}", "--show", "-1"], "--show must be at least 0"),
        (["{scores}", "{scores}", "--pool_size", "0"], "--pool_size must be at least 1"),
        (["{scores}", "{scores}", "--epoch", "0"], "neither is a run"),
        (["{a}", "{b}", "--epoch", "7"], "has epochs 0, 1"),
        (["{scores}", "{a}", "--against_sample_ratio", "0.5"], "is decided already"),
        (["{a}", "{b}", "--sample_ratio", "0.5"], "options that decide have no effect"),
        (["{scores}", "{scores}", "--against_sample_ratio", "2"], "must lie in (0, 1]"),
        (["{scores}", "{scores}", "--output", "x.html"], "must end in .json"),
        (["{scores}", "{scores}", "--output", "no/such/x.json"], "no folder"),
        (["{scores}", "{scores}", "--sample_ration", "0.5"], "did you mean sample_ratio"),
        (["{scores}", "none.parquet"], "no such file or folder"),
    ],
)
def test_bad_arguments(scores, runs, capsys, words, said):
    names = {"scores": scores, "a": runs[0], "b": runs[1]}
    assert diff(*(word.format(**names) for word in words)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_nothing_that_is_there_is_overwritten(runs, tmp_path, capsys):
    (tmp_path / "mine.json").write_text("mine")
    assert diff(*runs, "--output", tmp_path / "mine.json") == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "mine.json").read_text() == "mine"
