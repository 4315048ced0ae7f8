"""A real browser, where there is one: Chromium of the system, driven by playwright."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from qtuning.commands.main import main

from .. import tiny

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")

SCRIPT = "<script>window.hacked=1</script><img src=x onerror='window.hacked=2'>"
HOSTILE = {
    "script": f" {SCRIPT}",
    "closing": " </script></style></template><h1>out</h1>",
    "right to left": " \u202egnol\u202c \u2067mixed\u2069 end",
    "long": " " + "x" * 1_000_000,
    "odd": " \x00 \U0001f600 &lt;b&gt; ${policy} $payload",
}


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(_QUIET))
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """A function that opens a page; what the page complains of fails the test at its end."""
    complaints = []
    contexts = []

    def open_(path, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        context.set_default_timeout(600_000)  # milliseconds; a busy machine is no failure
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: _only_itself(asked.url, path, complaints))
        page.goto(path.as_uri())
        page.wait_for_selector("main[aria-busy=false], #failed:not([hidden])")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


def set_range(page, name, percent):
    page.evaluate(
        """([name, value]) => {
          const input = document.getElementById(name);
          input.value = value;
          input.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [name, percent],
    )


def _only_itself(url, path, complaints):
    if url != path.as_uri():
        complaints.append(f"asked for {url}")


@pytest.fixture(scope="session")
def hostile_scores(tmp_path_factory):
    """Scores of 60 rows, some of which would like to be more than text."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [{**row, "meta": {"kind": "ab"[i % 2], "n": i}} for i, row in enumerate(tiny.rows(60))]
    for place, (name, text) in enumerate(HOSTILE.items()):
        # The little tokenizer does not know all the characters of an answer.
        prompt = rows[place]["prompt"] if name == "long" else text
        rows[place] = {**rows[place], "prompt": prompt, "completion": text, "id": name}
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = tiny.save_model(folder / "model")
    scores = folder / "scores.parquet"
    command = ["score", "--model_name_or_path", str(model), "--dataset_name", str(path)]
    assert main([*command, "--output", str(scores), "--per_token", "--max_length", "512"]) == 0
    return scores


@pytest.fixture(scope="session")
def table(hostile_scores):
    return pq.read_table(hostile_scores)
