"""Pictures in the pages: of a report, and of an inspection in a real browser."""

import base64
import gzip
import json
import re

import pyarrow.parquet as pq
import pytest

from qtuning.commands.main import main
from qtuning.examples.thumbnails import SIDE

from .. import vision
from ..bad_input.test_images import data_with, stored
from .conftest import SCRIPT


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return vision.save(tmp_path_factory.mktemp("model"), "idefics3")


def payload_in(page: str) -> dict:
    encoded = max(re.findall(r"[A-Za-z0-9+/=]{200,}", page), key=len)
    return json.loads(gzip.decompress(base64.b64decode(encoded)))


def test_scores_of_rows_with_images_are_pruned_and_reported(tmp_path, model) -> None:
    vision.dataset(8).to_parquet(str(tmp_path / "rows.parquet"))
    scores, pruned, page = (tmp_path / name for name in ("s.parquet", "pruned", "page.html"))
    words = f"score --model_name_or_path {model} --output {scores} --per_token"
    assert main([*words.split(), "--dataset_name", str(tmp_path / "rows.parquet")]) == 0
    ratios = "--sample_ratio 0.5 --token_ratio 1.0"
    assert main(f"prune {scores} {ratios} --output {pruned}".split()) == 0
    (file,) = [pruned] if pruned.is_file() else pruned.rglob("*.parquet")
    kept = pq.read_table(file)
    assert kept.num_rows == 4
    assert {len(row["images"]) for row in kept.to_pylist()} <= {0, 1, 2}
    assert main(f"report {scores} --output {page}".split()) == 0
    text = page.read_text()
    assert "img-src data:" in text
    texts = payload_in(text)["texts"]
    counts = {one["sample"]: len(one.get("images", [])) for one in texts}
    assert counts == {k: (1, 2, 0)[k % 3] for k in range(8)}
    assert all(one["tokens"] for one in texts), "tokens of rows with images are shown too"
    assert all("src" in picture for one in texts for picture in one.get("images", []))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_inspection_shows_pictures_and_folds_their_tokens(
    tmp_path, model, opened, scheme
) -> None:
    rows = data_with(images=stored(SCRIPT.encode(), f"{SCRIPT}.png"))
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    words = f"inspect --model_name_or_path {model} --output {tmp_path / 'i.html'}"
    assert main([*words.split(), "--dataset_name", str(tmp_path / "rows.parquet")]) == 0
    page = opened(tmp_path / "i.html", color_scheme=scheme, viewport={"width": 390, "height": 800})
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    listed = page.locator("#list article")
    assert listed.count() == 4
    first = listed.first.inner_text()  # findings first
    assert first.startswith("Row 3")
    assert "its content is no picture of a known kind" in first
    assert "It was not made into tokens." in first
    pictures = page.locator("#list img")
    assert pictures.count() == 3
    for one in pictures.all():
        assert one.evaluate("img => img.complete && img.naturalWidth > 0")
        assert one.evaluate("img => img.getBoundingClientRect().width") <= SIDE
        assert re.fullmatch(r"image: RGB, \d+ x \d+ pixels", one.get_attribute("alt"))
    assert "RGB, 56 x 56 pixels" in listed.nth(1).inner_text()
    folded = page.locator("#list .folded").first
    assert folded.inner_text() == "⟨4 image tokens⟩"
    assert re.fullmatch(r"tokens \d+ to \d+, an image, not trained", folded.get_attribute("title"))
