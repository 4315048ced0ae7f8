"""Outputs that cannot be written, and names and texts that would like to be more than that."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qtuning.commands import main as cli
from qtuning.compare.figures import Line
from qtuning.compare.grid import Data
from qtuning.compare.plots import draw
from qtuning.compare.record_file import read_record
from qtuning.compare.rows import read_rows
from qtuning.compare.tables import Table, csv_text, latex, markdown
from qtuning.errors import UsageError
from qtuning.offline.decided import read_decided

from .conftest import score_table


def command(verb, scores, output):
    inputs = [scores, scores] if verb == "diff" else [scores]
    return [verb, *inputs, "--sample_ratio", "0.5", "--output", output]


@pytest.mark.parametrize("verb", ["prune", "report", "diff"])
def test_outputs_are_looked_at_before_the_input(refuses, tmp_path, verb) -> None:
    suffix = {"prune": ".parquet", "report": ".html", "diff": ".json"}[verb]
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"link{suffix}").symlink_to(tmp_path / "none")
    for name, said in (
        (f"folder{suffix}", "is there already|is a folder"),
        (f"link{suffix}", "is there already"),
        (f"none/x{suffix}", "no folder"),
        (f"{'x' * 300}{suffix}", "name too long"),
        (f"a\0{suffix}", "null byte"),
    ):
        found = refuses(*command(verb, tmp_path / "not there", tmp_path / name))
        assert any(one in found for one in said.split("|")), found


def test_score_into_a_folder(refuses, model, rows, tmp_path) -> None:
    (tmp_path / "s.parquet").mkdir()
    flags = ["--model_name_or_path", model, "--dataset_name", rows]
    said = refuses("score", *flags, "--output", tmp_path / "s.parquet")
    assert "is a folder; name a file" in said


def test_evaluate_into_a_folder(refuses, model, rows, tmp_path) -> None:
    flags = ["--model_name_or_path", model, "--dataset_name", rows]
    assert "is a folder; name a file" in refuses("evaluate", *flags, "--output", tmp_path)


@pytest.mark.parametrize("format", ["trl", "axolotl", "llamafactory"])
def test_a_failed_export_leaves_nothing(refuses, scores, tmp_path, format) -> None:
    precious = tmp_path / ".out.tmp"
    precious.mkdir()
    (precious / "file").write_text("mine")
    command = ["prune", scores, "--sample_ratio", "0.5", "--token_ratio", "0.5"]
    refuses(*command, "--format", format, "--output", tmp_path / "out")
    assert (precious / "file").read_text() == "mine"


@pytest.mark.parametrize("format", ["parquet", "jsonl", "datasets", "llamafactory"])
def test_nothing_is_kept(tmp_path, format) -> None:
    table = score_table()
    place = table.column_names.index("ppl")
    table = table.set_column(place, "ppl", pa.array([float("nan")] * 8))
    pq.write_table(table, tmp_path / "s.parquet")
    command = ["prune", tmp_path / "s.parquet", "--format", format, "--output", tmp_path / "out"]
    assert cli.main([str(word) for word in command]) == 0


@pytest.mark.parametrize("turns", [[None], [None, None], []])
def test_turns_that_are_none_in_a_report(tmp_path, turns) -> None:
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    table = score_table().append_column("messages", pa.array([turns] * 8, kind))
    pq.write_table(table, tmp_path / "s.parquet")
    command = ["report", tmp_path / "s.parquet", "--output", tmp_path / "out.html"]
    assert cli.main([str(word) for word in command]) == 0


def test_columns_of_the_users_that_are_called_as_ours(tmp_path) -> None:
    """A run's record has columns step, epoch and tokens_kept; so may anybody's data."""
    table = score_table()
    for name in ("step", "epoch", "tokens_kept", "scored"):
        table = table.append_column(name, pa.array(["theirs"] * table.num_rows))
    path, kept = tmp_path / "s.parquet", tmp_path / "kept.parquet"
    pq.write_table(table, path)
    options = ["--sample_ratio", "0.5", "--token_ratio", "0.5"]
    prune = ["prune", str(path), *options, "--with_dropped", "--output", str(kept)]
    assert cli.main(prune) == 0
    assert pq.read_table(kept)["step"].to_pylist() == ["theirs"] * 8
    decided = read_decided(kept)
    assert "step" not in decided.column_names
    tokens = decided["tokens_kept"].to_pylist()
    assert sum(tokens) == 2 * 4 // 2 or max(tokens) <= max(decided["n_tokens"].to_pylist())
    for verb, suffix in (("report", "html"), ("diff", "json")):
        for source in (path, kept):
            output = tmp_path / f"{verb}-{source.stem}.{suffix}"
            assert cli.main([str(w) for w in command(verb, source, output)]) in (0, 2)
            assert verb == "diff" or output.is_file()


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "a\0b", "\x1b[31m", "x" * 100_000])
def test_sample_ids_are_never_paths(tmp_path, name) -> None:
    table = score_table()
    place = table.column_names.index("sample_id")
    names = [f"{name}{i}" for i in range(8)]
    table = table.set_column(place, "sample_id", pa.array(names))
    path = tmp_path / "s.parquet"
    pq.write_table(table, path)
    for verb, suffix in (("prune", "parquet"), ("report", "html"), ("diff", "json")):
        output = tmp_path / f"{verb}.{suffix}"
        assert cli.main([str(word) for word in command(verb, path, output)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("diff.json", "prune.parquet", "report.html", "s.parquet")
    ]


def test_names_of_files_that_are_markup(scores, tmp_path) -> None:
    for name in ("a[b] [red]", "$x^$", "<img src=x>"):
        source = scores.rename(scores.with_name(f"{name}.parquet".replace("/", "|")))
        for verb, suffix in (("prune", "parquet"), ("report", "html"), ("diff", "json")):
            output = source.with_suffix(f".{verb}.{suffix}")
            assert cli.main([str(word) for word in command(verb, source, output)]) == 0
        scores = source


def line(name: str) -> Line:
    record = {
        "cell": name,
        "held_out": {"nll": 1.0, "calibration_error": 0.1},
        "cost": {"samples": 0.5, "answer_tokens": 0.5, "compute": 0.5},
        "tasks": [{"task": "=t", "metric": "m", "filter": "f", "value": 0.5}],
    }
    return Line(name, Data(name, ("x",)), name, "", {0: record})


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_formulas_in_csv(name) -> None:
    rows = list(csv.reader(io.StringIO(csv_text([line(name)]))))
    for row in rows[1:]:
        assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


def test_markdown_and_latex_take_names_as_text(tmp_path) -> None:
    name = "a|b<script>[x](y)`c`\n\\input{/etc/passwd} $x$ ~^#"
    table = Table(name, ("budget", name), ((name, name),))
    written = markdown([table])
    assert "<script>" not in written.replace("\\<script\\>", "")
    assert "[x]" not in written
    assert len(written.splitlines()) == 6
    assert "\\input" not in latex([table])
    assert "$x$" not in latex([table])
    assert latex([table]).count("\\textbackslash{}input") == 4


def test_plots_of_names_that_are_broken_mathematics(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    (path,) = draw([line("$\\frac{"), line("$\\frac{")], tmp_path)
    assert path.parent == tmp_path


RECORD = line("a").records[0]


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "null", '{"cell": 1}', "\0", "[" * 50_000),
        json.dumps({**RECORD, "held_out": {}}),
        json.dumps({**RECORD, "cost": {"samples": "x"}}),
        json.dumps({**RECORD, "tasks": [{}]}),
    ],
)
def test_damaged_results(tmp_path, content) -> None:
    path = tmp_path / "cell.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="is damaged"):
        read_record(path)
    path.write_text(json.dumps(RECORD))
    assert read_record(path) == RECORD


@pytest.mark.parametrize(
    "text",
    ["[1]", '{"prompt": 1, "completion": "a"}', '{"prompt": "a", "completion": 1}', "[" * 9**5],
)
def test_rows_of_comparisons(tmp_path, text) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n\n' + text)
    with pytest.raises(UsageError, match="line 3"):
        read_rows([str(path)], "\n")


def test_separators_within_a_text_do_not_end_a_row(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a\u2028b", "completion": "b\x85"}\n', encoding="utf-8")
    assert [row["completion"] for row in read_rows([str(path)], "\n")] == ["b\x85"]


@pytest.mark.parametrize("file", ["budget.json", "pruning_settings.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sample_ratio": "x"}', "\0"])
def test_damaged_files_of_a_run(refuses, tmp_path, file, text) -> None:
    from qtuning.run.ledger import Ledger, LedgerRow

    run = tmp_path / "run"
    with Ledger.start(run / "ledger") as ledger:
        ledger.append([LedgerRow(0, 1, "a", 1.5, 0.5, 3, 1, True, False, 3, True)])
    (run / file).write_text(text)
    assert f"{run / file}: is damaged" in refuses("report", run, "--output", tmp_path / "o.html")
