"""Reports of scores, of pruned data, and of runs."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from qtuning import PruningArguments, UsageError, prune, report
from qtuning.commands.main import main
from qtuning.io.row_text import LONGEST, text_columns, text_of
from qtuning.reports.columns import columns_of
from qtuning.reports.load import load
from qtuning.reports.page import page
from qtuning.reports.payload import payload_of

from .. import runs, tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def payload(path, rows=None, **pruning):
    return payload_of(load(path, PruningArguments(**pruning), rows=rows))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of three epochs with a probe set, and its data."""
    folder = tmp_path_factory.mktemp("run")
    data = tiny.dataset(24)
    data.to_json(folder / "rows.jsonl")
    trainer = runs.pruning(
        folder, data=data, num_train_epochs=3, sample_ratio=0.5, probe_samples=5, probe_steps=2
    )
    trainer.train()
    return folder


def test_of_scores(hostile_scores):
    made = payload(hostile_scores, sample_ratio=0.25)
    assert len(made["ids"]) == 60
    assert made["how"] == "q-tuning at 25% x 50%"
    assert made["redecide"]
    assert [column["name"] for column in made["columns"]] == [
        "answer tokens",
        "meta.kind",
        "meta.n",
    ]
    assert {text["sample"] for text in made["texts"]} == set(range(60))
    assert made["kinds"]["rows"]
    assert made["shares"] is made["often"] is made["migration"] is None


def test_the_worst_come_first(hostile_scores, table):
    worst = payload(hostile_scores)["worst"]
    ppl = np.array(table["ppl"].to_pylist())[worst]
    assert (np.diff(ppl) <= 0).all()
    assert ppl[0] == max(table["ppl"].to_pylist())


def test_of_scores_without_tokens(hostile_scores, table, tmp_path):
    path = tmp_path / "s.parquet"
    pq.write_table(table.drop_columns(["token_nll", "token_entropy"]), path)
    made = payload(path, sample_ratio=0.25)
    assert made["kinds"] is None
    assert not any("tokens" in text for text in made["texts"])
    assert any("without --per_token" in note for note in made["notes"])


def test_of_pruned_data(hostile_scores, tmp_path):
    for name, more in (("all", ["--with_dropped"]), ("kept", [])):
        output = tmp_path / f"{name}.parquet"
        command = ["prune", str(hostile_scores), "--output", str(output), "--sample_ratio", "0.25"]
        assert main([*command, *more]) == 0
        made = payload(output)
        assert made["redecide"] == (name == "all")
        assert made["how"] == "as it was pruned"
        assert len(made["ids"]) == (60 if name == "all" else 15)


def test_agreement_with_other_decisions(hostile_scores, tmp_path):
    other = tmp_path / "other.parquet"
    more = ["--sample_ratio", "0.5", "--with_dropped"]
    assert main(["prune", str(hostile_scores), "--output", str(other), *more]) == 0
    args = PruningArguments(sample_ratio=0.25)
    made = payload_of(load(hostile_scores, args, against=other))["agreement"]
    facts = dict(made["facts"])
    assert facts["samples in both"] == "60"
    assert facts["rank correlation of perplexity"] == "1.00"
    assert int(facts["by A alone"]) + int(facts["by B alone"]) == len(made["samples"])
    assert sum(map(sum, made["quadrants"]["counts"])) == 60
    for sample in made["samples"]:
        assert sorted(made["values"][sample][:2]) == ["dropped", "kept"]


def test_of_a_run(run):
    made = payload(run, rows=run / "rows.jsonl")
    assert made["how"] == "as the run decided: q-tuning at 50% x 50%"
    assert (made["sample_ratio"], made["token_ratio"]) == (0.5, 0.5)
    assert len(made["ids"]) == 24
    assert len(made["migration"]) == 2
    assert len(made["shares"]["layers"]) == 5
    assert made["probe"]["steps"][:2] == [0, 2]
    assert made["often"]["samples"]
    by_sample = {text["sample"]: text for text in made["texts"]}
    prompts = {row["id"]: row["prompt"] for row in tiny.rows(24)}
    assert {made["ids"][i]: text["prompt"] for i, text in by_sample.items()} == prompts


def test_of_what_score_and_prune_return(hostile_scores):
    data = Dataset.from_parquet(str(hostile_scores))
    made = payload(data)
    assert made["title"] == "the data set"
    assert len(made["ids"]) == 60
    pruned = prune(data, sample_ratio=0.25, with_dropped=True)
    assert payload(pruned)["how"] == "as it was pruned"


def test_a_run_without_its_rows_says_how_to_see_the_texts(run):
    made = payload(run)
    assert made["texts"] == []
    assert made["notes"] == ["Give --rows the data, or their scores, to see the texts."]


def test_rows_of_other_data_are_refused(run, tmp_path):
    other = tmp_path / "rows.jsonl"
    other.write_text('{"id": "other", "prompt": "a", "completion": "b"}\n')
    with pytest.raises(UsageError, match="have none of the samples"):
        payload(run, rows=other)


def test_a_run_of_a_pruner_without_scores_has_no_plane(tmp_path):
    runs.pruning(tmp_path, sample_pruner="random", token_pruner="random").train()
    made = payload(tmp_path)
    assert not made["plane"]
    assert not made["redecide"]
    assert made["shares"] is None


# Size


def test_a_hundred_thousand_samples_stay_below_five_megabytes():
    n = 100_000
    draw = np.random.default_rng(0)
    scores = pa.table(
        {
            "prompt": [f"What is {i} in words, and why? {'so ' * (i % 40)}" for i in range(n)],
            "completion": [f"It is {draw.integers(10**9)} {'very ' * (i % 60)}" for i in range(n)],
            "sample_id": [f"some-data-set-{i}" for i in range(n)],
            "ppl": np.exp(draw.normal(2, 1, n)),
            "entropy": draw.gamma(2, 1, n),
            "n_tokens": draw.integers(1, 400, n),
        }
    )
    material = load_table(scores)
    html = page(payload_of(material))
    assert len(html.encode()) < 5_000_000


def load_table(scores):
    from pathlib import Path

    from qtuning.reports.load import of_scores

    args = PruningArguments(sample_ratio=0.125, token_ratio=1.0)
    return of_scores(Path("scores"), scores, args, None, None, 0)


def test_more_are_thinned_and_said_to_be(monkeypatch, hostile_scores):
    monkeypatch.setattr("qtuning.reports.payload.MOST_VISITS", 20)
    made = payload(hostile_scores)
    assert any("show 20 of 60 decisions" in note for note in made["notes"])
    assert len(made["ids"]) >= 20
    assert all(0 <= i < len(made["ids"]) for i in made["worst"])


# Parts


def test_texts_of_all_formats():
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    more = [{"role": "system", "content": "s"}, *turns]
    shared = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    for row, expected in (
        ({"prompt": "q", "completion": "a"}, ("q", "a")),
        ({"prompt": turns[:1], "completion": turns[1:]}, ("q", "a")),
        ({"messages": turns}, ("q", "a")),
        ({"messages": more}, ("system: s\n\nuser: q", "a")),
        ({"conversations": shared}, ("q", "a")),
        ({"instruction": "q", "input": "i", "output": "a"}, ("q\n\ni", "a")),
        ({"text": "a"}, ("", "a")),
    ):
        names = text_columns(list(row))
        assert text_of(row, names) == (*expected, 0)
    assert text_columns(["input_ids", "labels"]) == ()


def test_long_texts_are_cut():
    text = text_of({"prompt": "p" * 9000 + "!", "completion": "a" * 9000}, ("prompt", "completion"))
    assert text.prompt.endswith("p!")
    assert text.answer.startswith("aa")
    assert max(len(text.prompt), len(text.answer)) <= LONGEST + 1
    assert text.cut == 18_001


def test_columns_to_colour_by():
    rows = pa.table(
        {
            "text": [f"text {i}" for i in range(80)],
            "source": ["web", None] * 40,
            "constant": [1] * 80,
            "score": [float(i) for i in range(80)],
            "meta": [{"good": i % 2 == 0, "lang": "abcdefghijkl"[i % 12]} for i in range(80)],
        }
    )
    found = {column.name: column for column in columns_of(rows, ["text"])}
    assert list(found) == ["source", "score", "meta.good", "meta.lang"]
    assert set(found["source"].names) == {"web", "(none)"}
    assert len(found["meta.lang"].names) == 8
    assert found["meta.lang"].names[-1] == "(other)"


# The command


def command(*words):
    return main(["report", *map(str, words)])


def test_the_command_writes_page_and_pictures(hostile_scores, tmp_path, capsys):
    output = tmp_path / "r.html"
    assert command(hostile_scores, "--output", output, "--figures", tmp_path / "figures") == 0
    assert output.read_text().startswith("<!doctype html>")
    assert re.search(r"r\.html \(\d\.\d MB\): open it in a browser", capsys.readouterr().out)
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["eu-plane.png", "token-kinds.png"]


def test_pictures_of_a_run(run, tmp_path):
    made = report(run)
    files = made.save_figures(tmp_path, "svg")
    assert [path.name for path in files] == ["eu-plane.svg", "quadrants.svg", "probe.svg"]
    assert all(path.stat().st_size > 1000 for path in files)


class Frames(HTMLParser):
    """The attributes of all frames."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_a_notebook_shows_the_page_in_a_frame_that_may_do_nothing_else(hostile_scores):
    made = report(hostile_scores)
    parser = Frames()
    parser.feed(made._repr_html_())
    ((tag, attributes),) = parser.found
    assert tag == "iframe"
    assert attributes["srcdoc"] == made.html
    assert attributes["sandbox"] == "allow-scripts allow-modals"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to report"),
        (["nowhere", "--output", "r.html"], "no such file"),
        (["{scores}"], "no output"),
        (["{scores}", "--output", "r.html", "--sample_pruner", "uds"], "needs more than scores"),
        (["{empty}", "--output", "r.html"], "no row has answer tokens"),
    ],
)
def test_bad_arguments(hostile_scores, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty" / "ledger").mkdir(parents=True)
    named = {"scores": hostile_scores, "empty": tmp_path / "empty"}
    assert command(*(word.format(**named) for word in words)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_nothing_is_overwritten(hostile_scores, tmp_path, capsys):
    (tmp_path / "r.html").write_text("mine")
    assert command(hostile_scores, "--output", tmp_path / "r.html") == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "r.html").read_text() == "mine"


def test_damaged_settings_of_a_run_are_named(run, tmp_path, capsys):
    folder = tmp_path / "run"
    (folder / "ledger").mkdir(parents=True)
    for chunk in (run / "ledger").iterdir():
        (folder / "ledger" / chunk.name).write_bytes(chunk.read_bytes())
    (folder / "pruning_settings.json").write_text("{")
    assert command(folder, "--output", tmp_path / "r.html") == 2
    assert "pruning_settings.json: is damaged" in capsys.readouterr().err
    assert json.loads((run / "pruning_settings.json").read_text())["sample_ratio"] == 0.5
