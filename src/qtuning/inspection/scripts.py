"""In which writing the rows are, and which rows stand out."""

import numpy as np

from .findings import FIRST, in_rows
from .result import Finding, Table
from .tokens import Bools, Ints

_RANGES = {
    "Latin": ((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0xD6), (0xD8, 0xF6),
              (0xF8, 0x2AF), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA722, 0xA7FF), (0xFF21, 0xFF3A),
              (0xFF41, 0xFF5A)),
    "Greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "Cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "Armenian": ((0x531, 0x58F),),
    "Hebrew": ((0x591, 0x5F4), (0xFB1D, 0xFB4F)),
    "Arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "Devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "Bengali": ((0x980, 0x9FF),),
    "Gurmukhi": ((0xA00, 0xA7F),),
    "Gujarati": ((0xA80, 0xAFF),),
    "Tamil": ((0xB80, 0xBFF),),
    "Telugu": ((0xC00, 0xC7F),),
    "Kannada": ((0xC80, 0xCFF),),
    "Malayalam": ((0xD00, 0xD7F),),
    "Sinhala": ((0xD80, 0xDFF),),
    "Thai": ((0xE00, 0xE7F),),
    "Lao": ((0xE80, 0xEFF),),
    "Tibetan": ((0xF00, 0xFFF),),
    "Burmese": ((0x1000, 0x109F),),
    "Georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    "Ethiopic": ((0x1200, 0x139F),),
    "Khmer": ((0x1780, 0x17FF),),
    "Mongolian": ((0x1800, 0x18AF),),
    "Kana": ((0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FD, 0x30FF), (0x31F0, 0x31FF),
             (0xFF66, 0xFF9F)),
    "Han": ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
            (0x20000, 0x323AF)),
}  # fmt: skip
"""Code points of letters by script, first and last; without common signs and digits."""

NAMES = tuple(_RANGES)
_LATIN = NAMES.index("Latin")
_BLOCKS = sorted(
    (first, last, number)
    for number, ranges in enumerate(_RANGES.values())
    for first, last in ranges
)
_FIRST, _LAST, _OF = (np.array(column) for column in zip(*_BLOCKS, strict=True))

_LETTERS = 5
"""Letters below which a row is in no script."""
_SHARE = 0.2
"""Share of a row's letters from which on it has a script."""
_RARE, _COMMON = 0.05, 0.9
"""A script stands out if less than so many rows have it, and another is that of so many."""


def letters_of(texts: list[str]) -> Ints:
    """How many letters of each script texts have, ``(R, S)``."""
    counts = np.zeros((len(texts), len(NAMES)), dtype=np.int64)
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    block = np.searchsorted(_FIRST, points, "right") - 1
    inside = (block >= 0) & (points <= _LAST[block])
    row = np.repeat(np.arange(len(texts)), list(map(len, texts)))
    flat = row[inside] * len(NAMES) + _OF[block[inside]]
    counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
    return counts


def script_table(letters: Ints) -> Table:
    """Scripts by the number of rows that are mostly in them, with the first of these.

    Args:
        letters: Letters of each row by script, ``(R, S)``.
    """
    most = _most(letters)
    total = letters.sum()
    table: Table = []
    with_some = _has(letters).sum(0)
    for script in np.argsort(-letters.sum(0), kind="stable"):
        if not with_some[script]:
            continue
        rows = np.flatnonzero(most == script)
        table.append(
            {
                "script": NAMES[script],
                "mostly in it": len(rows),
                "with some": int(with_some[script]),
                "of all letters": round(float(letters[:, script].sum() / total), 4),
                "first rows": ", ".join(str(row + 1) for row in rows[:FIRST]),
            }
        )
    return table


def script_findings(letters: Ints) -> list[Finding]:
    """Rows in another script than nearly all others.

    Args:
        letters: Letters of each row by script, ``(R, S)``.
    """
    has = _has(letters)
    counts = has.sum(0)
    known = int(has.any(1).sum())
    if not known or counts.max() < _COMMON * known:
        return []
    rare = (counts > 0) & (counts < _RARE * known)
    rows: Bools = np.asarray(has[:, rare].any(1))
    names = ", ".join(
        f"{NAMES[i]} ({counts[i]:,})" for i in np.argsort(-counts, kind="stable") if rare[i]
    )
    main = NAMES[int(counts.argmax())]
    return in_rows(
        "note",
        "other-scripts",
        rows,
        f"all or a part is in another script than {main}: {names}",
        "see whether they belong to the data",
    )


def _most(letters: Ints) -> Ints:
    """The script that most letters of a row are of, ``(R,)``; -1 if it has too few letters."""
    most: Ints = np.where(letters.sum(1) < _LETTERS, -1, letters.argmax(1))
    return most


def _has(letters: Ints) -> Bools:
    """Whether a script makes up a part of a row's letters, ``(R, S)``."""
    totals = letters.sum(1, keepdims=True)
    has: Bools = (totals >= _LETTERS) & (letters >= _SHARE * totals) & (letters > 0)
    return has
