"""What explain and the report tell of a run whose units were turns."""

import base64
import json

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

import qtuning
from qtuning import PruningArguments, explain, read_ledger, report
from qtuning.commands.main import main
from qtuning.explanation.kinds import kinds_of
from qtuning.io.row_text import text_of
from qtuning.offline.decided import read_decided
from qtuning.reports.load import load
from qtuning.reports.payload import payload_of

from .. import tiny, turned
from ..talks import user


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


def test_the_text_of_a_turn_is_its_own(run) -> None:
    told = explain(run, rows=Dataset.from_list(turned.rows()))
    for row in turned.rows():
        said = [m for m in row["messages"] if m["role"] == "assistant"]
        for number, message in enumerate(said, 1):
            text = told.sample(f"{row['id']}@{number}").text
            assert text.answer == text_of({"messages": [user("q"), message]}, ["messages"]).answer
            before = row["messages"][: row["messages"].index(message)]
            assert all((one["content"] or "") in text.prompt for one in before)
    assert told.sample("c1@1").text.answer.startswith("add(")
    assert "(thinks) hmhm" in told.sample("c2@3").text.answer
    assert told.sample("c2@3").text.prompt.endswith("user: z")


def test_a_conversation_is_told_by_its_turns(run, capsys) -> None:
    told = explain(run, rows=Dataset.from_list(turned.rows()))
    found = told.conversation("c2")
    assert [one.sample_id for one in found.turns] == ["c2@1", "c2@2", "c2@3"]
    assert [one.visits[0].kind for one in found.turns] == ["answer", "answer", "thoughts+answer"]
    assert told.conversation("c") is None
    assert told.conversation("c2@1") is None
    data = run / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in turned.rows()))
    assert main(["explain", str(run), "--sample", "c2", "--rows", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "c2: 3 turns." in shown
    for one in found.turns:
        kept = sum(visit.decision != "dropped" for visit in one.visits)
        assert f"{one.sample_id} ({one.visits[-1].kind}): " in shown
        assert f"{kept} of 2 visits" in shown
    assert "(thinks) hmhm" in shown
    assert main(["explain", str(run), "--sample", "c2", "--json"]) == 0
    turns = json.loads(capsys.readouterr().out)["conversation"]["turns"]
    assert [one["sample_id"] for one in turns] == ["c2@1", "c2@2", "c2@3"]


def test_the_report_has_texts_and_kinds_of_turns(run) -> None:
    payload = payload_of(load(run, PruningArguments(), rows=Dataset.from_list(turned.rows())))
    texts = {payload["ids"][one["sample"]]: one for one in payload["texts"]}
    assert len(texts) == sum(map(turned.turns_of, turned.rows()))
    assert texts["c1@1"]["answer"].startswith("add(")
    assert texts["c1@2"]["answer"] == "is 1."
    (kind,) = (one for one in payload["columns"] if one["name"] == "kind of turn")
    codes = np.frombuffer(base64.b64decode(kind["values"]["data"]), np.uint8)
    told = {name: kind["names"][code] for name, code in zip(payload["ids"], codes, strict=True)}
    assert told["c1@1"] == "calls of tools"
    assert told["c2@3"] == "answers with thoughts"


def test_the_report_of_scored_rows_has_the_tokens_of_turns(run, tmp_path) -> None:
    tiny.llama().save_pretrained(tmp_path)
    turned.tokenizer().save_pretrained(tmp_path)
    rows = Dataset.from_list(turned.rows())
    how = {"assistant_only_loss": True, "prune_unit": "turn", "progress": False, "bf16": False}
    scored = qtuning.score(rows, tmp_path, per_token=True, **how)
    payload = payload_of(load(run, PruningArguments(), rows=scored))
    texts = {payload["ids"][one["sample"]]: one for one in payload["texts"]}
    assert "".join(texts["c1@2"]["tokens"]) == "is 1.<e>"
    assert "".join(texts["c2@3"]["tokens"]) == "(hmhm) end 2<e>"


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
