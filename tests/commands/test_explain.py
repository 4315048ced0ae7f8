"""`qtuning explain`: what is shown and written, and that the data cannot do harm."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qtuning.commands.main import main

from ..explanation.made import course, row, write

VISIT = {
    "sample_id": str,
    "epoch": int,
    "step": int,
    "ppl": float,
    "entropy": float,
    "n_tokens": int,
    "tokens_kept": int,
    "quadrant": int,
    "decision": str,
    "reason": str,
    "scored": bool,
    "loss_before": float,
    "loss_after": float,
    "step_after": int,
}
TEXT = {"prompt": str, "answer": str}
MAY_BE_NULL = {"ppl", "entropy", "loss_before", "loss_after", "step_after", "text", "logged"}
MAY_BE_NULL |= {"scorer", "loss_kept_before", "loss_kept_after", "lift", "score", "usual", "loss"}


def explain(*words):
    return main(["explain", *map(str, words)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 120 steps and 80 samples, with three spikes."""
    folder = write(tmp_path_factory.mktemp("run"), *course(120, {33: 4.0, 77: 6.0, 78: 2.0}))
    settings = {"sample_pruner": "q-tuning", "token_pruner": "q-tuning", "sample_ratio": 0.5}
    (folder / "pruning_settings.json").write_text(json.dumps({**settings, "token_ratio": 0.5}))
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The data of the run."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    texts = [
        {"id": f"s{i}", "prompt": f"What is {i}?", "completion": f"It is {i}."} for i in range(80)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in texts))
    return path


def printed(capsys, *words):
    """The JSON of a call."""
    assert explain(*words, "--json") == 0
    found = capsys.readouterr()
    assert found.err == ""
    return json.loads(found.out, parse_constant=pytest.fail)  # NaN is no JSON


def check(content, schema, where="") -> None:
    """See that plain data have exactly these keys, of these types."""
    if isinstance(schema, dict):
        assert content.keys() == schema.keys(), where
        for key, kind in schema.items():
            if not (content[key] is None and key in MAY_BE_NULL):
                check(content[key], kind, f"{where}.{key}")
    elif isinstance(schema, list):
        for one in content:
            check(one, schema[0], f"{where}[]")
    else:
        assert type(content) is schema, where


# What each view says


def test_a_step(run, capsys) -> None:
    assert explain(run, "--step", 33) == 0
    shown = capsys.readouterr().out
    assert "Step 33, epoch 1: 4 candidates, 3 kept, 0 of them to fill the budget." in shown
    places = [shown.index(name) for name in ("s48", "s51", "s49", "s50")]
    assert places == sorted(places), "highest perplexity first"
    assert "kept: valuable" in shown
    assert "dropped: redundant" in shown
    told = printed(capsys, run, "--step", 33)["step"]
    assert [one["sample_id"] for one in told["rows"]] == ["s48", "s51", "s49", "s50"]
    assert (told["candidates"], told["kept"], told["filled"]) == (4, 3, 0)


def test_spikes(run, capsys) -> None:
    assert explain(run, "--spikes") == 0
    shown = capsys.readouterr().out
    assert "3 of 120 losses lie 3.5 or more robust" in shown
    assert "s64" in shown
    told = printed(capsys, run, "--spikes")["spikes"]
    assert [one["step"] for one in told["spikes"]] == [77, 33, 78]
    assert [one["rows"][0]["sample_id"] for one in told["spikes"]] == ["s64", "s48", "s68"]
    assert (told["source"], told["window"], told["threshold"]) == ("ledger", 25, 3.5)


def test_a_sample(run, capsys) -> None:
    assert explain(run, "--sample", "s51") == 0
    shown = capsys.readouterr().out
    assert "s51: never kept, 0 of 6 visits; Q3." in shown
    told = printed(capsys, run, "--sample", "s51")["sample"]
    assert (told["fate"], told["path"], told["visits"], told["kept"]) == ("never", "Q3", 6, 0)
    assert [one["step"] for one in told["rows"]] == [13, 33, 53, 73, 93, 113]


def test_a_summary_which_is_shown_by_default(run, capsys) -> None:
    assert explain(run, "--summary") == 0
    shown = capsys.readouterr().out
    assert "80 samples, 480 decisions: 6 visits of each." in shown
    assert "never kept: 20 (25.0%): s3, s7" in shown
    assert explain(run) == 0
    assert capsys.readouterr().out == shown
    told = printed(capsys, run)["summary"]
    assert [told[fate]["samples"] for fate in ("never", "always", "flipping")] == [20, 60, 0]
    assert told["never"]["ids"] == [f"s{i}" for i in range(3, 80, 4)]


def test_several_views_in_one_call(run, capsys) -> None:
    told = printed(capsys, run, "--step", 5, "--spikes", "--sample", "s1", "--summary")
    assert list(told) == ["format", "run", "scorer", "step", "spikes", "sample", "summary"]
    assert explain(run, "--step", 5, "--spikes", "--sample", "s1", "--summary") == 0
    shown = capsys.readouterr().out
    places = [shown.index(word) for word in ("Step 5", "Spikes of", "s1: always", "80 samples")]
    assert places == sorted(places)


def test_texts_of_the_data(run, rows, capsys) -> None:
    words = ["--step", 33, "--spikes", "--sample", "s51", "--summary", "--rows", rows]
    assert explain(run, *words) == 0
    shown = capsys.readouterr().out
    for words_shown in ("What is 48?", "What is 64?", "Prompt: What is 51?", "Answer: It is 51."):
        assert words_shown in shown
    told = printed(capsys, run, *words)
    text = {"prompt": "What is 51?", "answer": "It is 51."}
    assert told["sample"]["text"] == text
    assert told["step"]["rows"][1]["text"] == text
    assert told["spikes"]["spikes"][0]["rows"][0]["text"]["prompt"] == "What is 64?"
    assert told["summary"]["paths"][0]["example"] == "s0"


def test_so_many_rows_are_shown_as_asked_for_and_json_has_all(run, capsys) -> None:
    assert explain(run, "--step", 33, "--show", 2) == 0
    shown = capsys.readouterr().out
    assert "the first 2 of 4" in shown
    assert "s50" not in shown
    everything = ("--step", 33, "--spikes", "--sample", "s1", "--summary")
    assert explain(run, *everything, "--show", 0) == 0
    assert "ppl" not in capsys.readouterr().out, "no tables"
    assert printed(capsys, run, *everything, "--show", 0) == printed(capsys, run, *everything)


def test_the_json_is_as_the_page_says(run, rows, capsys) -> None:
    words = ("--step", 33, "--spikes", "--sample", "s51", "--summary", "--rows", rows)
    visit = {**VISIT, "text": TEXT}
    fate = {"samples": int, "ids": [str]}
    path = {"path": str, "samples": int, "never": int, "always": int, "flipping": int}
    check(
        printed(capsys, run, *words),
        {
            "format": int,
            "run": str,
            "scorer": str,
            "step": {
                **{"step": int, "epoch": int, "loss_candidates": float, "loss_kept": float},
                **{"loss_kept_before": float, "loss_kept_after": float},
                "logged": {"first_step": int, "step": int, "loss": float},
                **{"candidates": int, "kept": int, "filled": int, "rows": [visit]},
            },
            "spikes": {
                **{"source": str, "losses": int, "window": int, "threshold": float},
                "spikes": [
                    {
                        **{"first_step": int, "step": int, "loss": float, "usual": float},
                        **{"score": float, "rows": [{**visit, "lift": float}]},
                    }
                ],
            },
            "sample": {
                **{"sample_id": str, "fate": str, "path": str, "visits": int, "kept": int},
                **{"text": TEXT, "rows": [VISIT]},
            },
            "summary": {
                **{"samples": int, "visits": int, "never": fate, "always": fate},
                **{"flipping": fate, "paths": [{**path, "example": str}]},
            },
        },
    )


def test_scores_of_another_model_are_told_to_be_its(tmp_path, capsys) -> None:
    write(tmp_path, row(1, "a"))
    settings = {"sample_pruner": "q-tuning", "token_pruner": "q-tuning", "sample_ratio": 0.5}
    settings |= {"token_ratio": 0.5, "scorer_model_name_or_path": "small"}
    (tmp_path / "pruning_settings.json").write_text(json.dumps(settings))
    assert explain(tmp_path) == 0
    assert "are those of the scorer small, not of the model that" in capsys.readouterr().out
    assert printed(capsys, tmp_path)["scorer"] == "small"


# Data that are not trusted


def test_text_of_the_data_is_shown_as_text(tmp_path, capsys) -> None:
    evil = "[bold]id\x07\x1b[31m \u202e"
    write(tmp_path, *(row(step, evil, kept=step > 1, ppl=2.0 + step) for step in range(1, 4)))
    text = {"id": evil, "prompt": "[red]markup[/red] \x1b[31mred [/nonsense]" + "x" * 999}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**text, "completion": "\x9b31m"}) + "\n")
    settings = {"sample_pruner": "\x1b[31m", "token_pruner": "x", "sample_ratio": 0.5}
    (tmp_path / "pruning_settings.json").write_text(json.dumps({**settings, "token_ratio": 0.5}))
    words = ("--step", 2, "--spikes", "--sample", evil, "--summary", "--rows", path)
    assert explain(tmp_path, *words) == 0
    shown = capsys.readouterr().out
    assert "[bold]id" in shown
    assert "[red]markup" in shown
    assert explain(tmp_path, *words, "--json") == 0
    as_json = capsys.readouterr().out
    assert as_json.isascii()
    for character in "\x07\x1b\x9b\u202e":
        assert character not in shown + as_json
    assert "x" * 700 not in shown


# Mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a run's output folder"),
        (["{empty}"], "no ledger in"),
        (["{empty}/nowhere"], "no ledger in"),
        (["{run}", "--step", "121"], "its ledger has steps 1 to 120"),
        (["{run}", "--step", "0"], "its ledger has steps 1 to 120"),
        (["{run}", "--step", "x"], "invalid int value"),
        (["{run}", "--sample", "s511"], "did you mean 's51'"),
        (["{run}", "--rows", "{other}"], "have none of the samples"),
        (["{run}", "--rows", "{empty}/none.jsonl"], "no such file or folder"),
        (["{run}", "--show", "-1"], "--show must be at least 0"),
        (["{run}", "--summry"], "did you mean summary"),
        (["{run}", "{run}"], "qtuning"),
    ],
)
def test_bad_arguments(run, tmp_path, capsys, words, said) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "other", "prompt": "a", "completion": "b"}\n')
    names = {"run": run, "empty": tmp_path, "other": other}
    assert explain(*(word.format(**names) for word in words)) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert len(found.err.splitlines()) == 1
    assert found.out == ""


@pytest.mark.parametrize("name", ["pruning_settings.json", "trainer_state.json"])
def test_damaged_files_of_a_run_are_named(tmp_path, capsys, name) -> None:
    write(tmp_path, row(1, "a"))
    (tmp_path / name).write_text("{")
    assert explain(tmp_path) == 2
    assert f"{tmp_path / name}: " in capsys.readouterr().err


# Suspects: of scores, and of a run


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Scores of the run's data with the gain of each row: its number less 40."""
    path = tmp_path_factory.mktemp("alone") / "alone.parquet"
    columns = {
        "prompt": [f"What is {i}?" for i in range(80)],
        "completion": [f"It is {i}." for i in range(80)],
        "sample_id": [f"s{i}" for i in range(80)],
        "ppl": [2.0] * 80,
        "entropy": [1.0] * 80,
        "nll_sum": [50.0] * 80,
        "n_tokens": [4] * 80,
        "nll_alone_sum": [10.0 + i for i in range(80)],
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_suspects_of_scores_need_no_run(alone, capsys) -> None:
    content = printed(capsys, alone, "--suspects", 3)
    assert set(content) == {"format", "run", "scorer", "suspects"}
    found = content["suspects"]["suspects"]
    assert [(one["sample_id"], one["gain"]) for one in found] == [
        ("s0", -40.0),
        ("s1", -39.0),
        ("s2", -38.0),
    ]


def test_suspects_of_a_run_say_how_often_it_kept_them(run, alone, capsys) -> None:
    found = printed(capsys, run, "--suspects", 2, "--rows", alone)["suspects"]["suspects"]
    assert [one["sample_id"] for one in found] == ["s0", "s1"]
    assert all(one["visits"] >= 1 for one in found)
    assert explain(run, "--suspects", 2, "--summary", "--rows", alone) == 0
    text = capsys.readouterr().out
    assert "Least gain first: 2 of 80 rows" in text
    assert "never kept" in text


def test_suspects_are_written_as_rows(alone, tmp_path, capsys) -> None:
    path = tmp_path / "suspects.jsonl"
    assert explain(alone, "--suspects", 5, "--output", path) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["completion"] for row in rows] == [f"It is {i}." for i in range(5)]
    assert explain(alone, "--suspects", 5, "--output", path) == 2  # nothing is written over
    assert len(path.read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--suspects", "3"), "score its data with `qtuning score --alone`"),
        (("--output", "x.jsonl"), "give --suspects a number too"),
        (("--suspects", "0"), "must be at least 1"),
    ],
)
def test_suspects_that_cannot_be_listed(run, words, said, capsys) -> None:
    assert explain(run, *words) == 2
    assert said in capsys.readouterr().err
