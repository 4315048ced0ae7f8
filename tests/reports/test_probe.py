import math

import pyarrow as pa
import pytest

from qtuning.reports.probe import probe_series


def test_means_and_quartiles_of_each_visit():
    probe = pa.table(
        {
            "step": [0, 0, 0, 5, 5, 5],
            "ppl": [1.0, 10.0, 100.0, 2.0, 8.0, math.inf],
            "entropy": [1.0, 2.0, 6.0, 1.0, 3.0, math.nan],
        }
    )
    made = probe_series(probe)
    assert made["steps"] == [0, 5]
    mean, low, high = made["ppl"]
    assert mean == pytest.approx([10, 4]), "geometric, of what is finite"
    assert low == pytest.approx([5.5, 3.5])
    assert high == pytest.approx([55, 6.5])
    assert made["entropy"][0] == pytest.approx([3, 2])
