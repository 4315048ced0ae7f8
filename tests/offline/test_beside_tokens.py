"""What stands beside exported tokens, and what is said of them."""

import json
import logging

import pytest

import qtuning
from qtuning.commands.main import main
from qtuning.offline.beside_tokens import TEMPLATE_FILE

from .. import talks, tiny
from ..talks import answer, user

pytestmark = pytest.mark.usefixtures("one_thread")
TALKS = [{"messages": [user(f"ask {i}"), answer(f"say {i}")]} for i in range(4)]
PAIRS = [{"prompt": f"ask {i}", "completion": f" say {i}"} for i in range(4)]
ALPACA = [{"instruction": f"ask {i}", "output": f"say {i}"} for i in range(4)]
ALL = {"sample_pruner": "full", "sample_ratio": 1.0, "token_pruner": "random", "token_ratio": 0.5}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return talks.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def exported(model, tmp_path, caplog):
    """A function from rows to the folder written, and the warnings given."""

    def export(rows, to, **options):
        data = talks.write(tmp_path / "rows.jsonl", rows)
        scores = qtuning.score(data, model, bf16=False, progress=False, per_token=True, **options)
        with caplog.at_level(logging.WARNING, logger="qtuning"):
            qtuning.prune(scores, output=tmp_path / to, format=to, **ALL)
        said = [one.getMessage() for one in caplog.records if "prompts have labels" in one.message]
        return tmp_path / to, said

    return export


@pytest.mark.parametrize("to", ["trl", "llamafactory", "axolotl"])
def test_labels_on_prompts_of_conversations_are_told_with_the_option(exported, to) -> None:
    folder, said = exported(TALKS, to)
    assert len(said) == 1
    assert f"--format {to}" in said[0]
    assert "--assistant_only_loss" in said[0]
    assert (folder / TEMPLATE_FILE).read_text() == talks.TEMPLATE


def test_nothing_is_told_of_answers_alone(exported) -> None:
    folder, said = exported(TALKS, "axolotl", assistant_only_loss=True)
    assert said == []
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    assert all(row["labels"][0] == -100 for row in rows)


def test_an_option_that_gives_prompts_labels_is_named(exported) -> None:
    _, said = exported(PAIRS, "trl", completion_only_loss=False)
    assert "completion_only_loss" in said[0]


def test_text_has_no_template(exported) -> None:
    folder, said = exported(PAIRS, "trl")
    assert said == []
    assert not (folder / TEMPLATE_FILE).exists()


def test_instructions_become_conversations_of_the_template(exported) -> None:
    folder, said = exported(ALPACA, "trl")
    assert said == []
    assert (folder / TEMPLATE_FILE).read_text() == talks.TEMPLATE


def test_the_template_of_another_file_is_the_one_written(exported, tmp_path) -> None:
    other = tmp_path / "other.jinja"
    other.write_text(tiny.CHAT_TEMPLATE)
    folder, _ = exported(TALKS, "trl", chat_template_path=other)
    assert (folder / TEMPLATE_FILE).read_text() == tiny.CHAT_TEMPLATE


@pytest.mark.parametrize(
    ("to", "ratio", "words"),
    [
        ("llamafactory", "1.0", ["dataset_dir: {}", "dataset: qtuning"]),
        ("llamafactory", "0.5", ["dataset: qtuning", "tokenized_path: {}/tokenized"]),
        ("axolotl", "1.0", ["{}/datasets.yaml"]),
        ("trl", "1.0", ["--dataset_name {}/train.parquet"]),
        ("parquet", "1.0", []),
    ],
)
def test_the_command_says_how_to_train_on_it(model, tmp_path, capsys, to, ratio, words) -> None:
    data = talks.write(tmp_path / "rows.jsonl", ALPACA)
    scores, output = tmp_path / "s.parquet", tmp_path / "out"
    qtuning.score(data, model, output=scores, bf16=False, progress=False, per_token=True)
    argv = ["prune", str(scores), "--output", str(output), "--format", to]
    argv += ["--sample_ratio", "1.0", "--token_pruner", "random", "--token_ratio", ratio]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert ("To train on it" in said) is bool(words)
    assert ("tokenized_path" in said) is (ratio == "0.5")
    for word in words:
        assert word.format(output) in said
