"""The section of a model card on what was pruned."""

from importlib.metadata import PackageNotFoundError

import pytest
from huggingface_hub import ModelCard, metadata_load

from qtuning import PruningArguments
from qtuning.arguments import pruning_fields
from qtuning.run.budget import budget_table
from qtuning.run.card import CITATION, PLANE_FILE, TAG, describe_run, nominal_ratio
from qtuning.step.work import StepCounts

SETTINGS = pruning_fields(PruningArguments(sample_ratio=0.125, pool_factor=2))
COUNTS = StepCounts(steps=3, samples=24, kept_samples=6, answer_tokens=200, kept_answer_tokens=50)
THEIRS = """---
library_name: transformers
tags:
- llama-factory
- full
model-index:
- name: it
  results: []
---

# it

Words of another program.
"""


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(THEIRS)
    return path


def test_the_section_has_options_budget_and_citation(card) -> None:
    describe_run(card, SETTINGS, COUNTS)
    text = card.read_text()
    assert "Words of another program." in text
    assert "| `sample_ratio` | `0.125` |" in text
    assert "| `pool_factor` | `2` |" in text
    assert "`bisect_steps`" not in text, "it is at its default"
    assert "6 of 24 (25.0%) samples" in text
    for row in budget_table(COUNTS, 0.125, 0.5):
        assert f"| {' | '.join(row)} |" in text
    assert CITATION in text


def test_folders_of_the_machine_are_not_published(card, tmp_path) -> None:
    files = {"initial_scores": str(tmp_path / "s.parquet"), "score_refresh": 0.5}
    describe_run(card, {**SETTINGS, **files, "reference_model_name_or_path": "a/b"}, COUNTS)
    text = card.read_text()
    assert "`s.parquet`" in text
    assert "`a/b`" in text
    assert str(tmp_path) not in text


def test_what_the_card_said_before_stays(card) -> None:
    before = metadata_load(card)
    describe_run(card, SETTINGS, COUNTS)
    assert metadata_load(card) == {**before, "tags": ["llama-factory", "full", TAG]}
    ModelCard.load(card)


def test_a_later_call_replaces_the_section(card) -> None:
    describe_run(card, SETTINGS, StepCounts(steps=1, samples=8, kept_samples=2))
    describe_run(card, SETTINGS, COUNTS)
    later = card.read_text()
    describe_run(card, SETTINGS, COUNTS)
    assert card.read_text() == later
    assert later.count("## Pruning") == later.count("bibtex") == 1
    assert "2 of 8" not in later
    assert metadata_load(card)["tags"].count(TAG) == 1


def test_a_card_without_the_section_or_no_card_is_left_alone(card, tmp_path) -> None:
    describe_run(card, SETTINGS, COUNTS, again=True)
    describe_run(tmp_path / "none.md", SETTINGS, COUNTS)
    assert card.read_text() == THEIRS
    assert not (tmp_path / "none.md").exists()


@pytest.mark.parametrize("head", ["", "---\ntags: one\n---\n", "---\nlicense: mit\n---\n"])
def test_any_metadata_get_the_tag(card, head) -> None:
    card.write_text(f"{head}# it\n")
    describe_run(card, SETTINGS, COUNTS)
    tags = metadata_load(card)["tags"]
    assert tags == (["one", TAG] if "one" in head else [TAG])


def test_the_program_needs_no_installation(card, monkeypatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("qtuning.run.card.version", unknown)
    describe_run(card, SETTINGS, COUNTS)
    assert "qtuning, an implementation" in card.read_text()


def test_before_the_first_step_there_is_no_budget(card) -> None:
    describe_run(card, SETTINGS, StepCounts())
    assert "nominal" not in card.read_text()
    assert "`sample_ratio`" in card.read_text()


def test_the_plane_is_shown_where_it_lies_beside(card) -> None:
    describe_run(card, SETTINGS, COUNTS)
    assert PLANE_FILE not in card.read_text()
    card.with_name(PLANE_FILE).touch()
    describe_run(card, SETTINGS, COUNTS)
    assert f"]({PLANE_FILE})" in card.read_text()


def test_the_nominal_share_is_the_mean_over_the_run() -> None:
    tail = PruningArguments(sample_pruner="tail", sample_ratio=0.5)
    assert nominal_ratio(pruning_fields(tail)) != 0.5
    assert nominal_ratio(SETTINGS) == 0.125
    own = {**SETTINGS, "sample_pruner": "<function mine at 0x0>"}
    assert nominal_ratio(own) == 0.125


def test_settings_of_an_older_version_are_read() -> None:
    few = ("sample_pruner", "sample_ratio", "token_pruner", "token_ratio")
    assert nominal_ratio({name: SETTINGS[name] for name in few}) == 0.125
