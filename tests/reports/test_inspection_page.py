"""The page of an inspection in a real browser: every row's tokens, trained or not, as text."""

import base64
import gzip
import json
import re
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtuning import UsageError
from qtuning.inspection.result import Finding, Inspection, ShownRow
from qtuning.reports.inspection import inspection_html, write_inspection

from .conftest import HOSTILE, SCRIPT

CUT = Finding("error", "answers-cut", 9, (3, 61, 900), "9 answers are cut", "raise --max_length")
TWICE = Finding("warning", "twice", 2, (7, 61), "2 rows are there twice", "remove one")
PAD = Finding("note", "pad-is-eos", 1, (), "padding is EOS", "")


def row(number, *, words=("a", " b", " c"), trained=1, **fields):
    """A row whose last ``trained`` tokens are trained."""
    flags = [False] * (len(words) - trained) + [True] * trained
    return ShownRow(number, f"s{number}", tuple(words), tuple(flags), **fields)


def rows():
    names = {3: ("answers-cut",), 61: ("answers-cut", "twice"), 7: ("twice",)}
    made = [row(i, words=("user", f" word{i}", "\n", " yes"), trained=2) for i in range(1, 71)]
    made = [ShownRow(**{**vars(one), "findings": names.get(one.row, ())}) for one in made]
    return sorted(made, key=lambda one: not one.findings)


def inspection(**fields):
    made = {
        "data": "rows.jsonl",
        "model": "tiny",
        "facts": {"rows": {"read": 1234, "share": 0.12345, "odd": float("nan"), "EOS": False}},
        "tables": {"longest": [{"row": i, "tokens": i} for i in range(1, 20)], "none": []},
        "findings": (CUT, TWICE, PAD),
        "shown": (),
    }
    return Inspection(**{**made, **fields})


def payload(html):
    packed = re.search(r'id="payload">([^<]*)<', html)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture
def shown(opened, tmp_path):
    """A function that writes and opens the page of some rows."""

    def show(made, found=None, total=None, **options):
        path = write_inspection(found or inspection(), made, tmp_path / "i.html", total)
        return opened(path, **options)

    return show


def listed(page):
    return [name.removeprefix("Row ") for name in page.locator("#list h3 button").all_inner_texts()]


def tokens_of(page, where):
    """What is shown of each token, and whether it is marked as trained."""
    return page.locator(f"{where} .cuts").first.evaluate(
        """view => [...view.querySelectorAll("span[title]")].map(
          (token) => [token.textContent, token.closest("mark.trained") !== null])"""
    )


# What was found


def test_counts_findings_and_figures(shown):
    page = shown(rows())
    assert page.title() == "rows.jsonl – qtuning inspection"
    assert page.locator("#failed").is_hidden()
    assert page.locator("#counts .card").all_inner_texts() == [
        "1\n✖ error",
        "1\n▲ warning",
        "1\n● note",
    ]
    assert page.locator("#findings article").first.inner_text().split("\n\n") == [
        *("✖ error answers-cut 9", "9 answers are cut", "What to do: raise --max_length"),
        "Show 2 of its rows first rows: 3, 61, 900",
    ]
    assert "What to do" not in page.locator("#findings article").last.inner_text()
    lines = page.locator("#figures tbody tr").all_inner_texts()
    assert [line.split("\t") for line in lines] == [
        *(["read", "1,234"], ["share", "0.123"], ["odd", "–"], ["EOS", "no"]),
    ]
    assert page.locator("#tables h3").all_inner_texts() == ["longest"]
    assert page.locator("#tables tbody tr").count() == 12
    page.click("#tables button.more")
    assert page.locator("#tables tbody tr").count() == 19


def test_the_rows_of_a_finding_open_where_the_page_has_them(shown):
    page = shown(rows())
    links = page.locator("#findings article").first.locator("button.link")
    assert links.all_inner_texts() == ["3", "61"]  # row 900 is not in the page
    links.last.click()
    assert page.locator("#sample-title").inner_text() == "Row 61"
    assert "9 answers are cut raise --max_length" in page.locator("#sample").inner_text()
    assert tokens_of(page, "#sample") == [
        *(["user", False], [" word61", False], ["↵\n", True], ["·yes", True]),
    ]
    page.keyboard.press("Escape")
    assert page.locator("#sample").is_hidden()
    page.locator("#tables button.link", has_text="12").click()
    assert page.locator("#sample-title").inner_text() == "Row 12"


def test_nothing_found_and_no_rows(shown):
    page = shown([], inspection(facts={}, tables={}, findings=()))
    assert "Nothing was found" in page.locator("#findings").inner_text()
    for hidden in ("#figures", "#tables", "#controls", "nav [href='#tables']"):
        assert page.locator(hidden).is_hidden(), hidden
    assert page.locator("#count").inner_text() == "No row"


# The list of rows


def test_pages_of_the_list(shown):
    page = shown(rows())
    assert page.locator("#held").inner_text() == "All 70 rows are in this page."
    assert page.locator("#count").inner_text() == "1 to 25 of 70 rows"
    assert listed(page) == ["3", "7", "61", *(str(i) for i in range(1, 26) if i not in (3, 7))][:25]
    assert page.locator(".back").first.is_disabled()
    page.locator(".on").last.click()
    page.locator(".on").first.click()
    assert page.locator("#count").inner_text() == "51 to 70 of 70 rows"
    assert page.locator(".on").first.is_disabled()
    page.locator(".back").first.click()
    assert page.locator("#count").inner_text() == "26 to 50 of 70 rows"
    page.select_option("#order", "row")
    assert listed(page) == [str(i) for i in range(1, 26)]


def test_rows_are_found_by_number_name_and_text(shown):
    page = shown(rows())
    for words, found in (
        ("7", ["7", "17", "27", "37", "47", "57", "67", "70"]),
        ("s61", ["61"]),
        ("row 70", ["70"]),
        ("WORD12\n", ["12"]),
        ("(", []),
    ):
        page.fill("#search", words)
        assert listed(page) == found, words


def test_rows_are_filtered_by_finding(shown):
    page = shown(rows())
    options = page.locator("#finding option").all_inner_texts()
    assert options == ["any or none", "answers-cut (2)", "twice (2)"]
    page.check("#only")
    assert listed(page) == ["3", "7", "61"]
    page.select_option("#finding", "answers-cut")
    assert listed(page) == ["3", "61"]
    page.fill("#search", "word3")
    assert listed(page) == ["3"]
    page.locator("#findings button", has_text="Show its rows").last.click()
    assert listed(page) == ["7", "61"]
    assert page.locator("#list article").last.inner_text().startswith("Row 61\ns61\n2 of 4 tokens")


def test_a_page_holds_rows_until_it_is_full_and_says_so(shown, monkeypatch):
    monkeypatch.setattr("qtuning.reports.inspection.TEXT_BYTES", 1000)
    asked = []
    many = (asked.append(i) or row(i, words=("x" * 200, "y" * 100)) for i in range(1, 100_001))
    page = shown(many, total=100_000)
    assert page.locator("#held").inner_text().startswith("3 of 100,000 rows are in this page")
    assert asked == [1, 2, 3]


def test_rows_are_counted_where_their_number_is_not_given(monkeypatch):
    monkeypatch.setattr("qtuning.reports.inspection.TEXT_BYTES", 1000)
    made = payload(inspection_html(inspection(), (row(i, words=("x" * 999,)) for i in range(40))))
    assert (len(made["rows"]), made["total"]) == (1, 40)


def test_twenty_thousand_rows(shown):
    page = shown([row(i) for i in range(1, 20_001)])
    assert page.locator("#list article").count() == 25
    page.fill("#search", "20,000")
    assert listed(page) == ["20000"]


def test_long_rows_wait_until_they_are_asked_for(shown):
    page = shown([row(i, words=(" w",) * 5000, cut=7) for i in (1, 2)])
    assert page.locator("#list span[title]").count() == 5000
    first = page.locator("#list article").first.inner_text()
    assert "1 of 5,000 shown tokens trained" in first
    assert "7 more tokens of it are not shown." in first
    page.click("#list button.more")
    assert page.locator("#list span[title]").count() == 10_000


# Tokens


@pytest.mark.parametrize(
    ("words", "looks"),
    [
        (("a", " b", "  c", " ", " d ", "e"), ["a", " b", "··c", "·", "·d·", "e"]),
        (("a\n", "\n", "\t", "\r\n", " b"), ["a↵\n", "↵\n", "⇥", "\\r↵\n", "·b"]),
        (("\u202eab", "\u200b", "\x00\x7f", "\u00a0"), ["U+202Eab", "U+200B", "U+0000U+007F", "⍽"]),
        (("\U000e0041", "\ud800", "", "\ufffd"), ["U+E0041", "U+D800", "∅", "\ufffd"]),
        (("é", "日本", "\u0627\u0644", "\U0001f600"), ["é", "日本", "\u0627\u0644", "\U0001f600"]),
    ],
)
def test_what_cannot_be_seen_is_made_visible(shown, words, looks):
    page = shown([row(1, words=words)])
    expected = [[look, i == len(words) - 1] for i, look in enumerate(looks)]
    assert tokens_of(page, "#list") == expected


@given(st.lists(st.booleans(), max_size=30))
def test_runs_are_what_is_trained(trained):
    one = ShownRow(1, "s", ("t",) * len(trained), tuple(trained))
    runs = payload(inspection_html(inspection(), [one]))["rows"][0]["runs"]
    ends = list(accumulate(runs))
    inside = [sum(i >= end for end in ends) % 2 == 1 for i in range(len(trained))]
    assert inside == trained
    assert sum(runs) == len(trained)


def test_trained_is_not_told_by_colour_alone(shown):
    page = shown([row(1), row(2, trained=0)])
    line = page.locator("#list mark").evaluate("mark => getComputedStyle(mark).borderBottomStyle")
    assert line == "solid"
    titles = page.locator("#list span[title]").evaluate_all("all => all.map((one) => one.title)")
    assert titles[:3] == ["token 1, not trained", "token 2, not trained", "token 3, trained"]
    assert "1 of 3 tokens trained (33.3%)" in page.locator("#list").inner_text()
    assert page.locator("#list .error", has_text="0 of 3 tokens trained").is_visible()


# Text is text, and nothing is asked for


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_text_wherever_it_stands(shown, name):
    text = HOSTILE[name][:5000]
    found = Finding("error", text, 1, (1,), text, text)
    made = Inspection(text, text, {text: {text: text}}, {text: [{text: text}]}, (found,), ())
    one = ShownRow(1, text, (text,), (True,), findings=(text, "unknown"))
    page = shown([one], made, viewport={"width": 390, "height": 800})
    page.locator("#findings button.link").click()
    page.fill("#search", text[:50])
    assert page.locator("#list article").count() == 1
    assert page.locator("img, h1:not(#title), body script:not(:last-of-type)").count() == 1
    assert page.evaluate("window.hacked") is None
    for where in ("#title", "#about", "#findings-list", "#figures", "#tables", "#sample"):
        seen = page.locator(where).evaluate("e => e.textContent")
        assert text.strip()[:40].replace("\x00", "") in seen.replace("\x00", ""), where
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_may_be_run_or_fetched_that_is_not_in_the_file():
    html = inspection_html(inspection(), [row(1, words=(SCRIPT,))])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in html
    assert "hacked" not in html
    for sink in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert sink not in html


def test_theme_and_width(shown):
    page = shown(rows(), color_scheme="dark", viewport={"width": 390, "height": 800})
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#findings button.link").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_takes_the_place_of_none(tmp_path):
    path = write_inspection(inspection(), rows(), tmp_path / "i.html")
    with pytest.raises(UsageError, match="is there already"):
        write_inspection(inspection(), [], path)
    assert list(tmp_path.iterdir()) == [path]
    assert len(payload(path.read_text())["rows"]) == 70
