"""The report's sections on a run's losses with their spikes, and on fates of samples."""

import json

import pytest

from qtuning import PruningArguments, report
from qtuning.reports.load import load
from qtuning.reports.page import page
from qtuning.reports.payload import payload_of

from ..explanation.made import course, row, write

EVIL = "<img src=x onerror='window.hacked=1'>"


def payload(folder, rows=None):
    return payload_of(load(folder, PruningArguments(), rows=rows))


def named(course_rows):
    """The rows with a name of markup in place of s64, which lifts the loss of step 77."""
    return [one._replace(sample_id=EVIL) if one.sample_id == "s64" else one for one in course_rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rows = named(course(120, {33: 4.0, 77: 6.0, 78: 2.0}))
    return write(tmp_path_factory.mktemp("run"), *rows)


def test_the_losses_of_a_run_with_their_spikes(run) -> None:
    made = payload(run)
    losses = made["losses"]
    assert losses["steps"] == list(range(1, 121))
    assert [spike["step"] for spike in losses["spikes"]] == [77, 33, 78]
    assert losses["values"][76] == round(losses["spikes"][0]["loss"], 4) == max(losses["values"])
    mention = losses["spikes"][0]["rows"][0]["sample"]
    assert made["ids"][mention["place"]] == mention["name"] == EVIL
    assert losses["note"].startswith("The mean NLL of the answers kept")
    assert "3 of 120 losses" in losses["note"]


def test_fates_and_paths_of_samples(run) -> None:
    fates = payload(run)["fates"]
    assert fates["counts"] == [20, 60, 0]
    assert [(path["path"], path["counts"]) for path in fates["paths"]] == [
        ("Q2", [0, 60, 0]),
        ("Q3", [20, 0, 0]),
    ]
    assert fates["paths"][0]["example"] == {"name": "s0", "place": 0}


def test_a_long_run_is_drawn_by_means(tmp_path) -> None:
    losses = payload(write(tmp_path, *course(1000, {500: 9.0})))["losses"]
    assert len(losses["steps"]) == 400
    assert "the line has means of up to 3 of them" in losses["note"]
    assert losses["spikes"][0]["step"] == 500
    assert losses["spikes"][0]["loss"] > max(losses["values"]), "its dot is where it was"


def test_samples_of_a_thinned_page_are_found_by_their_places(run, monkeypatch) -> None:
    monkeypatch.setattr("qtuning.reports.payload.MOST_VISITS", 20)
    monkeypatch.setattr("qtuning.reports.payload.TEXT_BYTES", 0)
    made = payload(run)
    mentions = [r["sample"] for spike in made["losses"]["spikes"] for r in spike["rows"]]
    mentions += [path["example"] for path in made["fates"]["paths"]]
    places = [(one["place"], one["name"]) for one in mentions if one["place"] is not None]
    assert len(places) < len(mentions)
    assert places
    assert all(made["ids"][place] == name for place, name in places)


def test_texts_of_samples_that_are_named_come_first(run, tmp_path, monkeypatch) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [{"id": f"s{i}", "prompt": "p" * 99, "completion": "c"} for i in range(80)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = payload(run, rows=path)
    first = [made["ids"][text["sample"]] for text in made["texts"]][:3]
    assert first == ["s48", "s68", "s0"]


def test_a_run_without_losses_or_second_visits_has_no_such_sections(tmp_path) -> None:
    rows = [row(step, f"s{step}", quadrant=0, ppl=None, scored=False) for step in range(1, 9)]
    made = payload(write(tmp_path / "one", *rows))
    assert made["losses"] is made["fates"] is None
    few = payload(write(tmp_path / "two", *course(4, {})))
    assert few["losses"] is None
    made_of_scores = {**few, "losses": None, "fates": None}
    assert "<html" in page(made_of_scores)


def test_damaged_losses_of_a_run_are_no_json_that_browsers_refuse(run, tmp_path) -> None:
    """A loss that is not finite has no dot, and is told in words."""
    rows = course(60, {})
    folder = write(tmp_path, *rows)
    history = [
        {"step": step, "loss": float("nan") if step == 30 else 1.0 + step % 2}
        for step in range(1, 61)
    ]
    for entry in history:
        entry["pruning/kept_tokens"] = 30.0
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    made = payload(folder)["losses"]
    assert made["note"].startswith("The loss as it was logged")
    assert (made["spikes"][0]["step"], made["spikes"][0]["loss"]) == (30, None)
    json.dumps(made, allow_nan=False)


@pytest.fixture(scope="module")
def path(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "r.html"
    report(run, output=output)
    return output


def test_the_page_shows_both_and_opens_their_samples(opened, path) -> None:
    shown = opened(path)
    assert shown.locator("#losses circle.spike").count() == 3
    rows = shown.locator("#losses tbody tr")
    assert rows.count() == 3
    assert rows.first.inner_text().split()[:2] == ["77", "3.16"]
    shown.locator("#losses button.link").first.click()
    assert shown.locator("#sample-title").inner_text() == EVIL
    shown.click("#close")
    assert shown.evaluate("window.hacked") is None
    assert shown.locator("#losses img, #fates img").count() == 0
    assert "never kept" in shown.locator("#fates dl").inner_text()
    assert shown.locator("#fates tbody tr").count() == 2


def test_the_page_fits_a_phone_in_the_dark(opened, path) -> None:
    shown = opened(path, color_scheme="dark", viewport={"width": 390, "height": 800})
    assert shown.locator("#losses svg").is_visible()
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_of_scores_has_neither(opened, hostile_scores, tmp_path) -> None:
    report(hostile_scores, output=tmp_path / "r.html")
    shown = opened(tmp_path / "r.html")
    assert shown.locator("#losses").is_hidden()
    assert shown.locator("#fates").is_hidden()


def test_a_thinned_page_opens(opened, hostile_scores, run, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("qtuning.reports.payload.MOST_VISITS", 20)
    for name, source in (("scores", hostile_scores), ("run", run)):
        report(source, output=tmp_path / f"{name}.html")
        shown = opened(tmp_path / f"{name}.html")
        assert shown.locator("#failed").is_hidden()
        assert shown.locator("#worst tbody tr").count() > 0
