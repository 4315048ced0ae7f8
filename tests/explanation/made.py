"""Ledgers made for tests, as runs write them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from qtuning.run.ledger import SCHEMA, Ledger, LedgerRow


def row(step: int, name: str, **changes) -> LedgerRow:
    """A row of a ledger: a sample in Q2 that is kept, unless it is said otherwise."""
    values = {
        **{"epoch": 0, "step": step, "sample_id": name, "ppl": 2.0, "entropy": 1.0, "n_tokens": 4},
        **{"quadrant": 2, "kept": True, "filled": False, "tokens_kept": 4, "scored": True},
    }
    values |= changes
    if not values["kept"]:
        values["tokens_kept"] = 0
    return LedgerRow(**values)


def table(*rows: LedgerRow) -> pa.Table:
    """Rows as ``read_ledger`` returns them."""
    return pa.Table.from_pylist([one._asdict() for one in rows], SCHEMA).cast(SCHEMA)


def write(folder: Path, *rows: LedgerRow) -> Path:
    """A run's output folder with a ledger of these rows."""
    with Ledger.start(folder / "ledger") as ledger:
        ledger.append(rows)
    return folder


def course(n_steps: int, spikes: dict[int, float], seed: int = 0) -> list[LedgerRow]:
    """A run of four candidates a step whose loss falls; at some steps one sample lifts it.

    Args:
        n_steps: Number of steps.
        spikes: By how many nats the loss of the first candidate of a step is higher.
        seed: Seed of the noise.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for step in range(1, n_steps + 1):
        for place in range(4):
            loss = 1 + 2 * np.exp(-step / 30) + 0.05 * draw.normal()
            loss += spikes.get(step, 0.0) * (place == 0)
            name = f"s{4 * ((step - 1) % 20) + place}"
            kept = place != 3
            made = {"ppl": float(np.exp(loss)), "n_tokens": 10, "tokens_kept": 10, "kept": kept}
            made |= {"epoch": (step - 1) // 20, "quadrant": 2 if kept else 3}
            rows.append(row(step, name, **made))
    return rows


@st.composite
def ledgers(draw) -> list[LedgerRow]:
    """Rows of any run, in the order of their steps."""
    n = draw(st.integers(1, 40))
    step, rows = 1, []
    scores = st.one_of(st.none(), st.floats(1, 1e6), st.sampled_from([np.nan, np.inf]))
    for _ in range(n):
        step += draw(st.sampled_from([0, 0, 1, 3]))
        kept = draw(st.booleans())
        values = {
            "ppl": draw(scores),
            "entropy": 1.0,
            "n_tokens": draw(st.integers(0, 9)),
            "quadrant": draw(st.sampled_from([0, 0, 1, 2, 3, 4])),
            "kept": kept,
            "filled": kept and draw(st.booleans()),
            "scored": draw(st.booleans()),
        }
        rows.append(row(step, draw(st.sampled_from("abcd")), **values))
    return rows
