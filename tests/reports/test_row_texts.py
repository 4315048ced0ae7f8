"""The texts of rows in reports and diffs: turns as they are read, and no text of another row."""

import json

import datasets
import pytest

import qtuning
from qtuning import PruningArguments
from qtuning.commands.main import main
from qtuning.reports.load import load
from qtuning.reports.payload import payload_of
from qtuning.run.ledger import Ledger, LedgerRow

from .. import talks
from ..talks import answer, call, user

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = {"bf16": False, "progress": False, "assistant_only_loss": True, "per_token": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(scope="module")
def scores(folder):
    """Scores of rows with calls of tools, and of two that end with a question."""
    ask = [user("Hi"), answer("Ho"), user("Why?")]
    rows = [*talks.ROWS, {"messages": ask}, {"messages": ask, "system": "Be kind"}]
    data = talks.write(folder / "rows.jsonl", [{**row, "kind": "tool"} for row in rows])
    model = talks.save_model(folder / "model")
    qtuning.score(data, model, output=folder / "s.parquet", **OPTIONS)
    return folder / "s.parquet"


WANTED = [
    ('user: In Oslo?\n\nassistant: weather({"city": "Oslo"})\n\ntool: 5', "5 C."),
    ('user: 1 + 2?\n\nassistant: add({"a": 1, "b": [2]})\n\ntool: 3', "3."),
    ("user: Hi\n\nassistant: Ho\n\nuser: And in Rome?", 'weather({"city": "Rome"})'),
    ("system: Be kind\n\nuser: Hi", "Ho"),
    ("Hi", "Ho"),
    ("system: Be kind\n\nuser: Hi", "Ho"),
]


def texts(source, rows=None):
    made = payload_of(load(source, PruningArguments(token_ratio=1.0), rows=rows))
    shown = {text["sample"]: (text["prompt"], text["answer"]) for text in made["texts"]}
    return [shown.get(place) for place in range(len(made["ids"]))], made


def test_scored_rows_are_shown_as_turns_with_their_tokens(scores):
    shown, made = texts(scores)
    assert shown == WANTED
    assert not [note for note in made["notes"] if "Tokens are not shown" in note]
    tokens = {text["sample"]: "".join(text["tokens"]) for text in made["texts"]}
    assert tokens[2] == 'Ho<e> call weather {"city": "Rome"}<e>'


@pytest.mark.parametrize("to", ["parquet", "jsonl", "datasets"])
def test_so_are_pruned_rows_in_every_format(scores, tmp_path, to):
    output = tmp_path / ("o" if to == "datasets" else f"o.{to}")
    options = {"sample_ratio": 0.5, "token_ratio": 1.0, "with_dropped": True}
    qtuning.prune(scores, output=output, format=to, **options)
    assert texts(output)[0] == WANTED


def test_a_diff_shows_their_first_question(scores, tmp_path):
    one, other = (tmp_path / name for name in ("one.parquet", "other.jsonl"))
    for output, ratio in ((one, 0.2), (other, 0.9)):
        options = {"sample_ratio": ratio, "token_ratio": 1.0, "with_dropped": True}
        qtuning.prune(scores, output=output, format=output.suffix[1:], **options)
    for a, b in ((one, other), (other, one)):
        told = tmp_path / f"{a.stem}.json"
        assert main(["diff", str(a), str(b), "--output", str(told)]) == 0
        differing = json.loads(told.read_text())["differing"]
        assert differing
        first = ["In Oslo?", "1 + 2?", "Hi", "Hi", "Hi", "Hi"]
        for sample in differing:
            assert sample["text"] == first[int(sample["sample_id"])]


@pytest.fixture
def run(tmp_path):
    """A run over three samples, of which it knows the ids alone."""
    names = ("a", "b", "c")
    with Ledger.start(tmp_path / "run" / "ledger") as ledger:
        ledger.append(LedgerRow(0, 1, name, 2.0, 0.5, 4, 2, True, False, 4, True) for name in names)
    return tmp_path / "run"


def test_rows_of_one_id_that_differ_show_no_text(run, tmp_path):
    said = {"a": ["one", "two"], "b": ["same", "same"], "c": ["own"], "other": ["x", "y"]}
    rows = [
        {"id": name, "messages": [user(text), answer("ok")]}
        for name, values in said.items()
        for text in values
    ]
    shown, made = texts(run, rows=talks.write(tmp_path / "rows.jsonl", rows))
    assert shown == [None, ("same", "ok"), ("own", "ok")]
    (note,) = [note for note in made["notes"] if "of several rows" in note]
    assert note.startswith("1 ids, such as a, are of several rows that differ")


def test_rows_of_a_run_may_have_calls_of_any_arguments(run, tmp_path):
    rows = [
        {"id": name, "messages": [user(name), call("add", a=value)]}
        for name, value in zip("abc", (1, "x", [2]), strict=True)
    ]
    data = talks.write(tmp_path / "rows.jsonl", rows)
    wanted = [("a", 'add({"a": 1})'), ("b", 'add({"a": "x"})'), ("c", 'add({"a": [2]})')]
    assert texts(run, rows=data)[0] == wanted
    if talks.ANY_OBJECTS:
        loaded = datasets.load_dataset("json", data_files=str(data), split="train")
        assert texts(run, rows=loaded)[0] == wanted
