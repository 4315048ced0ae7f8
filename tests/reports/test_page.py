"""The report in a real browser: it decides as the core does, and shows text as text."""

import math

import numpy as np
import pytest
import torch

from qtuning import PruningArguments, keep_tokens, prune, report, select_samples
from qtuning.offline.prune import decide_offline

from .conftest import HOSTILE, set_range

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def path(hostile_scores, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "r.html"
    report(hostile_scores, output=output, sample_ratio=0.25, token_ratio=0.5)
    return output


def test_it_opens_without_a_complaint(opened, path):
    page = opened(path)
    assert page.title() == "scores.parquet – qtuning report"
    assert page.locator("#failed").is_hidden()
    assert page.locator("#budget .card").count() == 4


@pytest.mark.parametrize("percent", [5, 12.5, 25, 60, 100])
def test_the_slider_decides_what_the_core_decides(opened, path, table, percent):
    page = opened(path)
    set_range(page, "sample-ratio", percent)
    args = PruningArguments(sample_ratio=percent / 100, token_ratio=0.5)
    found = decide_offline(table, args)
    assert int(page.locator("#kept-count").inner_text()) == int(found.kept.sum())
    counts = table["n_tokens"].to_pylist()
    tokens = sum(
        int(found.token_keeps[i].sum()) if i in found.token_keeps else counts[i]
        for i in found.kept.nonzero().squeeze(1).tolist()
    )
    assert int(page.locator("#token-count").inner_text()) == tokens
    shown = page.locator("#quadrants tbody tr").all()
    numbers = [row.locator("td").nth(1).inner_text() for row in shown]
    assert list(map(int, numbers)) == [int((found.quadrant == q).sum()) for q in (1, 2, 3, 4, 0)]


def test_the_token_slider_prunes_what_the_core_prunes(opened, path, table):
    page = opened(path)
    before = int(page.locator("#token-count").inner_text())
    set_range(page, "token-ratio", 20)
    found = decide_offline(table, PruningArguments(sample_ratio=0.25, token_ratio=0.2))
    pruned = [i for i in found.token_keeps if table["sample_id"][i].as_py() not in HOSTILE]
    assert int(page.locator("#token-count").inner_text()) < before
    page.evaluate("words => { document.getElementById('search').value = words }", "")
    for place in pruned[:3]:
        name = table["sample_id"][place].as_py()
        page.fill("#search", name)
        page.locator("#found button.link", has_text=name).first.click()
        tokens = page.locator("#sample .token").all()
        struck = [token.evaluate("e => e.tagName === 'DEL'") for token in tokens]
        assert struck == (~found.token_keeps[place]).tolist()
        page.click("#close")


def test_as_it_was_takes_the_sliders_back(opened, path):
    page = opened(path)
    before = page.locator("#budget").inner_text()
    set_range(page, "sample-ratio", 80)
    assert page.locator("#budget").inner_text() != before
    assert "decided in this page" in page.locator("#how").inner_text()
    page.click("#reset")
    assert page.locator("#budget").inner_text() == before


def test_a_point_shows_and_opens_its_sample(opened, path):
    page = opened(path)
    page.locator("#plane").scroll_into_view_if_needed()
    place = page.evaluate(
        """() => {
          const canvas = document.getElementById("plane");
          canvas.focus();
          canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
          canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
          return document.querySelector("#tip b").textContent;
        }"""
    )
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Enter")
    assert page.locator("#sample-title").inner_text() == place
    page.keyboard.press("Escape")
    assert page.locator("#sample").is_hidden()
    box = page.locator("#plane").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 3)
    assert page.locator("#tip").is_hidden()


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_shown_as_text(opened, path, name):
    page = opened(path)
    page.fill("#search", name)
    page.locator("#found button.link", has_text=name).first.click()
    shown = page.locator("#sample-body").inner_text()
    text = HOSTILE[name].strip()
    if name == "long":
        assert "characters" in shown
        assert len(shown) < 20_000
    else:
        expected = text.replace("\x00", "\ufffd")
        assert "".join(expected.split()) in "".join(shown.split())
    assert page.evaluate("window.hacked") is None
    assert page.locator("#sample-body img, #sample-body script, #sample-body h1").count() == 0


def test_nothing_may_be_run_or_fetched_that_is_not_in_the_file(opened, path):
    page = opened(path)
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    html = path.read_text()
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in html


def test_agreement_is_shown(opened, hostile_scores, tmp_path):
    other = tmp_path / "other.parquet"
    prune(str(hostile_scores), sample_ratio=0.5, output=str(other), with_dropped=True)
    report(hostile_scores, against=other, output=tmp_path / "r.html")
    page = opened(tmp_path / "r.html")
    assert "kept by both" in page.locator("#agreement dl").inner_text()
    page.locator("#agreement button.link").first.click()
    assert page.locator("#sample").is_visible()


def test_it_works_in_the_frame_of_a_notebook(browser, hostile_scores, tmp_path):
    outer = tmp_path / "notebook.html"
    outer.write_text(report(hostile_scores)._repr_html_())
    page = browser.new_page()
    page.goto(outer.as_uri())
    frame = page.frame_locator("iframe")
    assert frame.locator("#budget .card").first.inner_text().startswith("15")
    page.close()


def test_colour_theme_and_width(opened, path):
    page = opened(path, color_scheme="dark", viewport={"width": 390, "height": 800})
    options = page.locator("#colour option").all_inner_texts()
    assert options == ["quadrant", "answer tokens", "meta.kind", "meta.n"]
    for option in options:
        page.select_option("#colour", option if option != "quadrant" else "")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "no sideways scrolling on a phone"


# The rule itself


def pools(n):
    draw = np.random.default_rng(0)
    for _ in range(n):
        size = int(draw.integers(1, 60))
        ppl, entropy = np.exp(draw.normal(1, 1, size)), draw.gamma(2, 1, size)
        if draw.random() < 0.4:  # ties
            ppl, entropy = ppl.round(), entropy.round()
        if draw.random() < 0.3:
            ppl[draw.integers(size)] = draw.choice([math.nan, math.inf])
        yield ppl, entropy, float(draw.choice([0.03, 0.125, 0.29, 0.5, 0.9, 1.0]))


def test_the_rule_in_the_page_is_the_cores(opened, path):
    page = opened(path)
    for ppl, entropy, ratio in pools(80):
        made = page.evaluate(
            """([ppl, entropy, ratio]) => {
              const found = new Pool(0, Float64Array.from(ppl), Float64Array.from(entropy))
                .select(ratio);
              return [[...found.kept], [...found.quadrant], [...found.filled], found.thresholds];
            }""",
            [ppl.tolist(), entropy.tolist(), ratio],
        )
        kept, quadrant, filled, cut = made
        core = select_samples(torch.from_numpy(ppl), torch.from_numpy(entropy), ratio)
        assert kept == core.kept.int().tolist()
        assert quadrant == core.quadrant.tolist()
        assert filled == core.filled.int().tolist()
        if core.thresholds is None:
            assert cut is None
        else:
            assert list(cut.values()) == list(vars(core.thresholds).values())


def test_the_token_rule_in_the_page_is_the_cores(opened, path):
    page = opened(path)
    draw = np.random.default_rng(1)
    for size in (1, 2, 3, 10, 57):
        nll = draw.gamma(1, 2, size).astype(np.float32)
        for ratio in (0.01, 0.5, 0.99, 1.0):
            for ends in ([], [size - 1], sorted({0, size // 2, size - 1})):
                kept = page.evaluate(
                    "([nll, ratio, ends]) => [...keepTokens(Float32Array.from(nll), ratio, ends)]",
                    [nll.tolist(), ratio, ends],
                )
                protected = torch.zeros(size, dtype=torch.bool)
                protected[ends] = True
                core = keep_tokens(torch.from_numpy(nll), ratio, protected=protected)
                assert kept == core.int().tolist()
