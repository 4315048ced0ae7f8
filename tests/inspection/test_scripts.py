"""Scripts of rows."""

import unicodedata

import numpy as np
import pytest

from qtuning.inspection.scripts import NAMES, letters_of, script_findings, script_table

LATIN, CYRILLIC, HAN = "hello there", "привет тебе", "你好世界再见"
_WORDS = {
    "Han": ("CJK", "IDEOGRAPHIC", "VERTICAL IDEOGRAPHIC"),
    "Kana": ("HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA"),
    "Burmese": ("MYANMAR",),
}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (LATIN, "Latin"),
        (CYRILLIC, "Cyrillic"),
        (HAN, "Han"),
        ("ひらがなカタカナ", "Kana"),
        ("안녕하세요", "Hangul"),
        ("γειά σου", "Greek"),
        ("مرحبا بك", "Arabic"),
        ("שלום לך", "Hebrew"),
        ("नमस्ते", "Devanagari"),
        ("สวัสดี", "Thai"),
        ("ÀÉÎõü ſtraße", "Latin"),
        ("𠀀𠀁", "Han"),
    ],
)
def test_letters_are_counted(text, script) -> None:
    counts = letters_of(["", text, "1 + 2 = 3 ✓ 🙂 \ud800"])
    assert counts.shape == (3, len(NAMES))
    assert counts[1].argmax() == NAMES.index(script)
    assert counts[1].sum() == counts[1].max()
    assert not counts[[0, 2]].any()


def test_letters_are_those_of_their_unicode_names() -> None:
    """Scripts have more letters than are counted, in blocks of rare or ancient ones."""
    letters = [chr(i) for i in range(0x20000) if unicodedata.category(chr(i))[0] == "L"]
    names = [unicodedata.name(c, "").removeprefix("FULLWIDTH ") for c in letters]
    for script, counted in zip(NAMES, letters_of(letters).T.astype(bool), strict=True):
        words = _WORDS.get(script, (script.upper(),))
        named = np.array([name.startswith(words) for name in names])
        assert (counted & named).sum() > 0.95 * counted.sum(), script
        assert (counted & named).sum() > 0.6 * named.sum(), script


def test_what_stands_out() -> None:
    rows = [LATIN] * 97 + [CYRILLIC] * 2 + [f"{LATIN} {HAN}"]
    (found,) = script_findings(letters_of(rows))
    assert (found.count, found.rows) == (3, (98, 99, 100))
    assert "Cyrillic (2), Han (1)" in found.what
    assert script_findings(letters_of([LATIN] * 60 + [CYRILLIC] * 40)) == []
    assert script_findings(letters_of([LATIN] * 9)) == []
    assert script_findings(letters_of(["1 + 1"] * 9)) == []
    # A word in a long text is no part of it.
    assert script_findings(letters_of([LATIN] * 99 + [LATIN * 20 + HAN])) == []


def test_the_table() -> None:
    table = script_table(letters_of([LATIN, CYRILLIC, LATIN, ""]))
    assert [row["script"] for row in table] == ["Latin", "Cyrillic"]
    assert [row["mostly in it"] for row in table] == [2, 1]
    assert [row["first rows"] for row in table] == ["1, 3", "2"]
    assert np.isclose(sum(row["of all letters"] for row in table), 1)
