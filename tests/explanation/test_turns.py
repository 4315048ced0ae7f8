"""What explain and the report tell of a run whose units were turns."""

import json

import pyarrow as pa
import pytest
from datasets import Dataset

from qtuning import PruningArguments, explain, read_ledger, report
from qtuning.commands.main import main
from qtuning.explanation.kinds import kinds_of
from qtuning.offline.decided import read_decided
from qtuning.reports.load import load
from qtuning.reports.payload import payload_of

from .. import turned


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    turned.pruning(folder, num_train_epochs=2).train()
    return folder


def test_kinds_are_counted(run) -> None:
    rows = read_ledger(run).to_pylist()
    counts = {one.kind: one for one in explain(run).summary().kinds}
    assert set(counts) == {"answer", "thoughts+answer", "call"} == {row["kind"] for row in rows}
    for kind, one in counts.items():
        chosen = [row for row in rows if row["kind"] == kind]
        assert one.visits == len(chosen)
        assert one.kept == sum(row["kept"] for row in chosen)
        assert one.tokens_kept == sum(row["tokens_kept"] for row in chosen)


def test_a_turn_has_visits_and_the_text_of_its_conversation(run) -> None:
    told = explain(run, rows=Dataset.from_list(turned.rows()))
    sample = told.sample("c2@3")
    assert len(sample.visits) == 2
    assert {visit.kind for visit in sample.visits} == {"thoughts+answer"}
    assert sample.visits[0].to_dict()["kind"] == "thoughts+answer"
    assert sample.text is not None
    assert "end 2" in sample.text.answer
    assert told.summary().table.num_rows == sum(map(turned.turns_of, turned.rows()))


def test_the_report_and_other_readers_take_it(run, tmp_path, capsys) -> None:
    report(run, output=tmp_path / "r.html", rows=Dataset.from_list(turned.rows()))
    assert (tmp_path / "r.html").is_file()
    material = load(run, PruningArguments(), rows=Dataset.from_list(turned.rows()))
    assert material.facts["decisions on calls of tools"].startswith("6, ")
    shown = json.dumps(payload_of(material), default=str)
    assert "c1@2" in shown
    assert "calls of tools" in shown
    decided = read_decided(run)
    assert len(set(decided["sample_id"].to_pylist())) * 2 == decided.num_rows
    assert main(["explain", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "calls of tools: 6 decisions" in shown
    assert main(["explain", str(run), "--step", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["step"]["rows"]
    assert all(row["kind"] and "@" in row["sample_id"] for row in rows)


def test_runs_of_samples_have_no_kinds(tmp_path) -> None:
    turned.pruning(tmp_path, prune_unit="sample").train()
    assert explain(tmp_path).summary().kinds == ()
    assert "kinds" not in explain(tmp_path).summary().to_dict()
    assert "kind" not in explain(tmp_path).step(1).visits[0].to_dict()
    assert kinds_of(pa.table({"n_tokens": [1]})) == ()
