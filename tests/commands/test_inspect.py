"""`qtuning inspect`: what is shown and written, and that the data cannot do harm."""

import json

import pytest

from qtuning.commands.main import main

from .. import device, tiny
from ..inspection.made import pair, talk, tokens

FAST = (*device.flags(), "--report_to", "none", "--bf16", "false")


@pytest.fixture
def rows(tmp_path):
    """Writes rows into a file."""

    def written(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return written


def inspect(model, data, *words):
    names = ("--model_name_or_path", model, "--dataset_name", data)
    return main(["inspect", *map(str, (*names, *FAST, *words))])


GOOD = [pair(f"{i} + 1 =", f" {i} and one") for i in range(5)]
NO_END = [tokens([5, 6, 7], [-100, 6, 7])]


def printed(capsys, *words):
    """The JSON of a call."""
    assert inspect(*words, "--json") == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # NaN is no JSON


def test_figures_tables_and_rows(rows, plain, capsys) -> None:
    data = rows([*GOOD, GOOD[0]])
    assert inspect(plain, data) == 0
    shown = capsys.readouterr().out
    for words in (
        f"{data} [train], for {plain}",
        "read 6; trained on 6",
        "tokens by role",
        "longest rows",
        "Found: 0 errors, 1 warning, 0 notes.",
        "warning rows-repeated: 1 of 6 rows: equal to an earlier row (row 6)",
        "Row 1, 0: 11 of 18 tokens are trained",
        "0 + 1 =⟦ 0 and one<eos>⟧",
        "Row 3, 2:",
    ):
        assert words in " ".join(shown.split()), words
    assert "Row 4" not in shown


def test_so_many_rows_are_shown_as_asked_for(rows, plain, capsys) -> None:
    assert inspect(plain, rows(GOOD), "--show", 0) == 0
    assert "Row 1" not in capsys.readouterr().out
    assert len(printed(capsys, plain, rows(GOOD), "--show", 4)["shown"]) == 4


def test_json(rows, plain, capsys) -> None:
    told = printed(capsys, plain, rows(NO_END))
    assert list(told) == ["format", "data", "model", "facts", "tables", "findings", "shown"]
    assert told["format"] == 1
    (error,) = [one for one in told["findings"] if one["level"] == "error"]
    assert error.keys() == {"level", "name", "count", "rows", "what", "advice"}
    assert (error["name"], error["count"], error["rows"]) == ("end-never-trained", 1, [1])
    assert told["facts"]["rows"]["read"] == 1
    (shown,) = told["shown"]
    assert shown["trained"] == [False, True, True]
    assert shown["findings"] == ["end-never-trained"]


def test_strict(rows, plain, capsys) -> None:
    assert inspect(plain, rows(NO_END), "--strict") == 1
    assert "end-never-trained" in capsys.readouterr().out
    assert inspect(plain, rows(NO_END), "--strict", "--json") == 1
    assert inspect(plain, rows(NO_END)) == 0
    assert inspect(plain, rows([*GOOD, GOOD[0]]), "--strict") == 0


def test_all_options_of_training(rows, plain, tmp_path, capsys) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("max_length: 12\nsample_ratio: 0.5\nlearning_rate: 1e-4\n")
    told = printed(capsys, plain, rows(GOOD), "--config", config, "--packing")
    assert told["facts"]["tokens"]["maximal length"] == 12
    assert told["facts"]["batches"]["packing"] == "bfd"
    assert told["facts"]["tokens"]["rows cut"] == 5


def test_nothing_is_written(rows, plain, tmp_path, monkeypatch) -> None:
    data = rows(GOOD)
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.iterdir()}
    assert inspect(plain, data, "--output_dir", tmp_path / "run") == 0
    assert {*tmp_path.iterdir()} == before


def test_a_page(rows, plain, tmp_path, capsys) -> None:
    page = tmp_path / "report.html"
    assert inspect(plain, rows([*GOOD, GOOD[0]]), "--output", page) == 0
    assert page.read_text().lower().startswith("<!doctype html>")
    assert "0 + 1 =" in capsys.readouterr().out


def test_evaluation_data(rows, plain, tmp_path, capsys) -> None:
    other = rows([GOOD[2]], "other.jsonl")
    told = printed(capsys, plain, rows(GOOD), "--eval_dataset", other)
    assert [one["rows"] for one in told["findings"]] == [[3]]
    folder = tmp_path / "both"
    folder.mkdir()
    for name, part in (("train", GOOD), ("test", GOOD[1:2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    told = printed(capsys, plain, folder, "--eval_strategy", "steps", "--eval_steps", 1)
    assert [one["rows"] for one in told["findings"]] == [[2]]
    assert printed(capsys, plain, folder)["findings"] == []


# Data that are not trusted


def test_text_of_the_data_is_shown_as_text(rows, chat, capsys) -> None:
    evil = "[bold]x[/bold] \x1b[31mred \x07\x9b1m\u202e [/nonsense]"
    data = rows([{**talk(evil, evil), "id": evil}, talk(f"{evil}<e>", evil)])
    assert inspect(chat, data) == 0
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]" in shown
    assert "[/nonsense]" in shown
    assert inspect(chat, data, "--json") == 0
    as_json = capsys.readouterr().out
    assert as_json.isascii()
    for character in "\x07\x1b\x9b\u202e":
        assert character not in shown + as_json


def test_names_of_tokens_are_shown_as_text(tmp_path, rows, capsys) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"eos_token": "[red]\x1b[31m"})
    tiny.llama().resize_token_embeddings(120)
    model = tiny.llama(vocab_size=120)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    assert inspect(tmp_path / "model", rows(GOOD)) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]" in shown


# Mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strct"], "did you mean strict"),
        (["--show", "-1"], "--show must be at least 0"),
        (["--output", "{folder}/report.txt"], "must end in .html"),
        (["--output", "{folder}/none/report.html"], "no folder"),
        (["--output", "{folder}/there.html"], "is there already"),
        (["--dataset_name", "{folder}/none.jsonl"], "no such file or folder"),
        (["--eval_dataset", "{folder}/none.jsonl"], "none.jsonl: no such file or folder"),
        (["--model_name_or_path", "{folder}"], "no model, config.json is missing"),
        (["--chat_template_path", "{folder}/none.jinja"], "No such file"),
        (["--eval_strategy", "steps", "--eval_steps", "1"], "Unknown split"),
    ],
)
def test_bad_arguments(rows, plain, tmp_path, capsys, words, said) -> None:
    (tmp_path / "there.html").touch()
    assert inspect(plain, rows(GOOD), *(word.format(folder=tmp_path) for word in words)) == 2
    found = capsys.readouterr()
    assert said.lower() in found.err.lower()
    assert found.out == ""


def test_no_model(rows, capsys) -> None:
    assert main(["inspect", "--dataset_name", str(rows(GOOD))]) == 2
    assert "no model: give --model_name_or_path" in capsys.readouterr().err


def test_rows_that_cannot_be_trained_on_are_named(rows, chat, capsys) -> None:
    data = rows([talk("a", "b"), {"messages": [{"role": "nobody", "content": "a"}]}])
    assert inspect(chat, data) == 2
    assert "row 2" in capsys.readouterr().err


# What training tells


def test_training_tells_errors_and_counts_warnings(rows, plain, tmp_path, capsys) -> None:
    words = ["--dataset_name", rows(NO_END * 4), "--output_dir", tmp_path / "out"]
    words += ["--max_steps", 1, "--per_device_train_batch_size", 1, "--disable_tqdm", "true"]
    assert main(["train", "--model_name_or_path", *map(str, [plain, *FAST, *words])]) == 0
    shown = capsys.readouterr().out
    assert "Error in the data: 4 of 4 rows: no end token is trained" in shown
    assert "Data: 1 error, 1 warning; run `qtuning inspect` with the same options" in shown
