"""Pictures in a report: small, encoded anew, and a line for what is not shown."""

import base64
import gzip
import io
import json
import re

import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from qtuning.commands.main import main
from qtuning.reports.pictures import MOST_PICTURES, SIDE, shown_pictures

from .. import vision


def png(picture: Image.Image, **info: str) -> bytes:
    stream, text = io.BytesIO(), PngImagePlugin.PngInfo()
    for key, value in info.items():
        text.add_text(key, value)
    picture.save(stream, "PNG", pnginfo=text)
    return stream.getvalue()


def one(content: bytes | None, path: str | None = None) -> dict:
    return {"images": [{"bytes": content, "path": path}]}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_a_picture_of_any_mode_is_drawn_small_and_encoded_anew(mode) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    stream = io.BytesIO()
    vision.picture(3, (600, 300), mode).save(stream, kind)
    (shown,) = shown_pictures(one(stream.getvalue()))
    head, encoded = shown["src"].split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as small:
        assert (small.format, small.mode, max(small.size)) == ("JPEG", "RGB", SIDE)


def test_nothing_but_pixels_goes_into_the_page() -> None:
    (shown,) = shown_pictures(one(png(vision.picture(1), note="<script>secret</script>")))
    assert b"secret" not in base64.b64decode(shown["src"].split(",")[1])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (one(None), "image missing"),
        ({"images": [None]}, "image missing"),
        (one(b"text"), "image not shown: its content is no picture of a known kind"),
        (one(png(vision.picture(1, (300, 300)))[:2000]), "image not shown: "),
        (one(png(Image.new("1", (9_000, 9_000)))), "image not shown: 9000 x 9000 pixels"),
        (one(png(Image.new("1", (20_000, 20_000)))), "image not shown: Image size"),
        (one(None, "nowhere/a.png"), "image not shown: "),
        ({"image": "https://a.example/a.png"}, "image not shown: it is not on this disk"),
    ],
)
def test_what_cannot_be_shown_is_one_line(row, said) -> None:
    (shown,) = shown_pictures(row)
    assert shown["said"].startswith(said)
    assert "\n" not in shown["said"]


def test_many_pictures_are_counted() -> None:
    stored = [{"bytes": png(vision.picture(k)), "path": None} for k in range(MOST_PICTURES + 3)]
    shown = shown_pictures({"images": stored})
    assert len(shown) == MOST_PICTURES + 1
    assert shown[-1] == {"said": "3 more images"}
    assert shown_pictures({"images": []}) == []


def payload_in(page: str) -> dict:
    encoded = max(re.findall(r"[A-Za-z0-9+/=]{200,}", page), key=len)
    return json.loads(gzip.decompress(base64.b64decode(encoded)))


def test_scores_of_rows_with_images_are_pruned_and_reported(tmp_path) -> None:
    model, processor = vision.model_of("idefics3")
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    vision.dataset(8).to_parquet(str(tmp_path / "rows.parquet"))
    scores, pruned, page = (tmp_path / name for name in ("s.parquet", "pruned", "page.html"))
    words = f"score --model_name_or_path {tmp_path / 'model'} --output {scores} --per_token"
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
    assert all("src" in picture for one in texts for picture in one.get("images", []))
