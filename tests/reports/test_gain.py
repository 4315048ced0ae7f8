"""The gain in the report: a colour, an axis, and a list of suspects."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qtuning import PruningArguments, report
from qtuning.offline.suspects import gains, suspects
from qtuning.reports.load import load
from qtuning.reports.payload import payload_of
from qtuning.run.ledger import FOLDER, Ledger, LedgerRow

pytestmark = pytest.mark.usefixtures("one_thread")

COLUMNS = ["answer tokens", "gain (nats)", "gain a token (nats)", "meta.kind", "meta.n"]


@pytest.fixture(scope="module")
def scores(table, tmp_path_factory):
    """Scores with an answer alone for each row but the third, gains from -30 to 28 nats."""
    path = tmp_path_factory.mktemp("gain") / "scores.parquet"
    sums = [nll + (7 * i) % 59 - 30 for i, nll in enumerate(table["nll_sum"].to_pylist())]
    sums[2] = None
    pq.write_table(table.append_column("nll_alone_sum", pa.array(sums, pa.float64())), path)
    return path


@pytest.fixture(scope="module")
def path(scores, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "r.html"
    report(scores, output=output, sample_ratio=0.25, token_ratio=0.5)
    return output


def payload(source, **more):
    return payload_of(load(source, PruningArguments(sample_ratio=0.25), **more))


def test_it_is_a_colour_and_the_least_are_listed(scores):
    content = payload(scores)
    assert [column["name"] for column in content["columns"]] == COLUMNS
    assert content["gain"] == 1
    names = [content["ids"][i] for i in content["least"]]
    assert names == [one.sample_id for one in suspects(scores, 50).suspects]
    listed = set(content["least"])
    assert listed <= {text["sample"] for text in content["texts"]}, "what is listed can be read"


def test_without_the_column_there_is_no_trace_of_it(hostile_scores):
    content = payload(hostile_scores)
    assert content["gain"] is None
    assert content["least"] == []
    assert not any("gain" in column["name"] for column in content["columns"])


def test_of_a_run_it_is_that_of_the_rows(scores, tmp_path):
    names = pq.read_table(scores)["sample_id"].to_pylist()[10:20]
    with Ledger.start(tmp_path / "run" / FOLDER) as ledger:
        ledger.append(
            LedgerRow(0, 1, name, 2.0 + i, 1.0, 3, 0, True, False, 3, True)
            for i, name in enumerate(names)
        )
    content = payload(tmp_path / "run", rows=scores)
    assert content["ids"] == names
    assert content["gain"] == 1
    expected = gains(pq.read_table(scores))[10:20]
    assert content["least"] == np.argsort(expected, kind="stable").tolist()


def test_a_users_column_of_that_name_in_the_rows_of_a_run_is_theirs(scores, tmp_path):
    with Ledger.start(tmp_path / "run" / FOLDER) as ledger:
        ledger.append([LedgerRow(0, 1, "a", 2.0, 1.0, 3, 0, True, False, 3, True)])
    rows = pa.table({"id": ["a"], "prompt": ["p"], "completion": ["c"], "nll_alone_sum": ["x"]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    assert payload(tmp_path / "run", rows=tmp_path / "rows.parquet")["gain"] is None


def test_a_picture_of_it(scores, hostile_scores, tmp_path):
    pytest.importorskip("matplotlib")
    files = report(scores).save_figures(tmp_path / "with")
    assert "gain-plane.png" in [file.name for file in files]
    files = report(hostile_scores).save_figures(tmp_path / "without")
    assert "gain-plane.png" not in [file.name for file in files]


# In a real browser


def drawn(page):
    return page.evaluate("document.getElementById('plane').toDataURL()")


def rightmost(page, box):
    """The sample that a pointer finds first that comes from the right."""
    return page.evaluate(
        """([width, height]) => {
          const canvas = document.getElementById("plane"), box = canvas.getBoundingClientRect();
          for (let x = width; x > 0; x--) {
            for (let y = 0; y < height; y += 8) {
              canvas.dispatchEvent(new PointerEvent("pointermove",
                { clientX: box.left + x, clientY: box.top + y }));
              if (!document.getElementById("tip").hidden) {
                return document.querySelector("#tip b").textContent;
              }
            }
          }
        }""",
        [box["width"], box["height"]],
    )


def test_it_is_an_axis_of_the_plane(opened, path, scores):
    page = opened(path)
    before = drawn(page)
    assert page.locator("#across option").all_inner_texts() == ["perplexity", "gain"]
    page.select_option("#across", "gain")
    across = drawn(page)
    assert across != before
    page.locator("#plane").scroll_into_view_if_needed()
    box = page.locator("#plane").bounding_box()
    name = rightmost(page, box)
    known = gains(pq.read_table(scores))
    assert name == pq.read_table(scores)["sample_id"][int(np.nanargmax(known))].as_py()
    page.select_option("#across", "")
    assert drawn(page) == before
    page.select_option("#colour", "gain (nats)")
    assert drawn(page) != before
    assert "to" in page.locator("#colours").inner_text()


def test_the_suspects_are_listed_least_first(opened, path, scores):
    page = opened(path)
    found = suspects(scores, 2).suspects
    rows = page.locator("#least tbody tr").all()
    for row, one in zip(rows, found, strict=False):
        cells = row.locator("td, th").all_inner_texts()
        assert cells[0] == one.sample_id
        assert float(cells[2]) == pytest.approx(one.gain, rel=1e-2)
    page.locator("#least button.link").first.click()
    shown = page.locator("#sample-body").inner_text()
    assert "gain (nats)" in shown
    assert str(round(found[0].gain)) in shown


def test_where_it_is_not_known_nothing_of_it_is_shown(opened, hostile_scores, tmp_path):
    report(hostile_scores, output=tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    assert page.locator("#across").is_hidden()
    assert page.locator("#least").is_hidden()
