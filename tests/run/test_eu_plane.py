import math

import pyarrow as pa
import pytest

from qtuning import UsageError
from qtuning.run.eu_plane import plot_eu_plane
from qtuning.run.ledger import SCHEMA, LedgerRow


def ledger(*rows: LedgerRow) -> pa.Table:
    return pa.Table.from_pylist([row._asdict() for row in rows], schema=SCHEMA)


def row(ppl: float | None, entropy: float | None, quadrant: int, kept: bool) -> LedgerRow:
    return LedgerRow(
        0, 1, "a", ppl, entropy, 5, quadrant, kept, kept and quadrant in (0, 1), 5, True
    )


def test_a_picture_of_all_quadrants(tmp_path) -> None:
    rows = [row(1.5 + q, 2.5 - q / 3, q, kept) for q in range(5) for kept in (True, False)]
    bad = [row(math.nan, math.inf, 0, False), row(None, None, 0, False)]
    plot_eu_plane(ledger(*rows, *bad), tmp_path / "plane.png")
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw(tmp_path) -> None:
    with pytest.raises(UsageError, match="scored"):
        plot_eu_plane(ledger(row(None, None, 0, True)), tmp_path / "plane.png")
    assert not (tmp_path / "plane.png").exists()
