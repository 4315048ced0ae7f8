"""The payload of the page: everything that it shows, as plain data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..core.seeds import seed_of
from ..errors import UsageError
from ..examples.thumbnails import shown_pictures
from ..io.arrow_rows import rows_of
from ..io.image_rows import IMAGE_COLUMNS
from ..io.json_files import finite
from ..io.row_text import columns_beside, text_columns, text_of
from ..offline.rows_of_run import ADDED, places_of
from ..offline.schema import TURN_ENDS
from ..offline.suspects import gains
from .agreement import differences
from .columns import Column, columns_of
from .course import course_of
from .material import Material
from .over_time import migrations, most_often_dropped, quadrant_shares
from .page import TEXT_BYTES, array
from .probe import probe_series
from .token_shares import token_shares
from .token_texts import answer_pieces
from .turns import kinds_of_turns, numbers_of_turns, part_of_turn
from .visits import MOST_VISITS, Visits, thinned, visits_of

LISTED = 50
GAIN, GAIN_PER_TOKEN = "gain (nats)", "gain a token (nats)"
_LONGEST_ID = 40


def payload_of(material: Material) -> dict[str, Any]:
    """Collect everything that the page shows, as plain data.

    Args:
        material: The decisions, with their context.

    Raises:
        UsageError: No row has answer tokens, or ``material.rows`` has none of a run's samples.
    """
    table = material.table
    visits, names, first = visits_of(table, by_id=material.by_id)
    if not len(visits):
        raise UsageError(f"{material.title}: nothing to report: no row has answer tokens")
    notes = list(material.notes)
    scores_of_worst = _worst(visits)
    worst = list(scores_of_worst)
    often = most_often_dropped(visits, LISTED)
    losses, fates, mentions = (
        (None, None, []) if material.explanation is None else course_of(material.explanation, names)
    )
    subset = thinned(visits, MOST_VISITS)
    if len(subset) < len(visits):
        notes.append(
            f"The plane and the sliders show {len(subset):,} of {len(visits):,} decisions; lists, "
            "kinds of tokens and charts are made of all."
        )
    rows, row_notes = _rows(material, names, first)
    notes += row_notes
    turns = numbers_of_turns(names, material)
    texts: list[dict[str, Any]] = []
    lengths = _lengths(visits, len(names))
    gain = np.where(turns, np.nan, _gains(rows, material, len(names)))
    columns = [Column("answer tokens", lengths), *kinds_of_turns(material, first)]
    if not np.isnan(gain).all():
        per_token = (gain / np.maximum(lengths, 1)).astype(np.float32)
        columns += [Column(GAIN, gain.astype(np.float32)), Column(GAIN_PER_TOKEN, per_token)]
    least = _least(gain)
    turn_ends = np.where(turns, np.uint32(1), _turn_ends(rows, material, len(names)))
    if rows is not None:
        skip = (*ADDED, *text_columns(rows.column_names), "input")
        columns += columns_of(rows, skip)
        mentioned = [one["place"] for one in mentions if one["place"] is not None]
        samples = _by_priority([*mentioned, *worst, *least], often, subset)
        texts, text_notes = _texts(rows, samples, turns, material)
        notes += text_notes
    if len(subset) < len(visits):
        with_text = np.array([text["sample"] for text in texts], dtype=np.int64)
        keep = np.union1d(np.unique(subset.sample), with_text)
        names, columns = _select(keep, names, columns, texts)
        turn_ends = turn_ends[keep]
        place = {int(old): new for new, old in enumerate(keep)}
        subset = _with_places(subset, place)
        scores_of_worst = {place[i]: one for i, one in scores_of_worst.items() if i in place}
        worst = list(scores_of_worst)
        least = [place[i] for i in least if i in place]
        for mention in mentions:
            mention["place"] = place.get(mention["place"])
        if often is not None:
            counts = {
                name: {place[i]: n for i, n in often[name].items() if i in place}
                for name in ("dropped", "visits")
            }
            often = {"samples": list(counts["dropped"]), **counts}
    return {
        "title": material.title,
        "facts": list(material.facts.items()),
        "notes": notes,
        "how": material.how,
        "redecide": material.redecide and visits.scored,
        "sample_ratio": material.sample_ratio,
        "token_ratio": material.token_ratio,
        "plane": visits.scored,
        "rho": None if material.rho is None or math.isnan(material.rho) else material.rho,
        "ids": names,
        "visits": {name: array(values) for name, values in vars(subset).items()},
        "turn_ends": array(turn_ends),
        "columns": [{"name": c.name, "values": array(c.values), "names": c.names} for c in columns],
        "texts": texts,
        "losses": losses,
        "fates": fates,
        "shares": quadrant_shares(visits) if material.by_id and visits.scored else None,
        "migration": migrations(visits) or None if visits.scored else None,
        "probe": None if material.probe is None else probe_series(material.probe),
        "kinds": token_shares(table, material.origin),
        "worst": worst,
        "scores_of_worst": scores_of_worst,
        "least": least,
        "gain": next((i for i, column in enumerate(columns) if column.name == GAIN), None),
        "often": often,
        "agreement": None if material.agreement is None else differences(material, names),
    }


def _worst(visits: Visits) -> dict[int, list[float | None]]:
    """Return the samples with the highest perplexity in their last scored visit, highest first.

    Returns:
        Perplexity and entropy at that visit, by sample.
    """
    last = np.full(int(visits.sample.max()) + 1, -1)
    scored = np.flatnonzero(np.isfinite(visits.ppl))
    last[visits.sample[scored]] = scored
    ppl = np.where(last < 0, -np.inf, visits.ppl[last])
    order = np.argsort(-ppl, kind="stable")[:LISTED]
    return {
        int(i): [finite(float(values[last[i]])) for values in (visits.ppl, visits.entropy)]
        for i in order
        if last[i] >= 0
    }


def _lengths(visits: Visits, n: int) -> NDArray[np.float32]:
    lengths = np.zeros(n, dtype=np.float32)
    lengths[visits.sample] = visits.n_tokens
    return lengths


def _turn_ends(rows: pa.Table | None, material: Material, n: int) -> NDArray[np.uint32]:
    """Return how many answer tokens of each of ``n`` samples end a turn; 1 where not known."""
    if rows is None or not _is_of_scores(material) or TURN_ENDS not in rows.column_names:
        return np.ones(n, dtype=np.uint32)
    counts = pc.fill_null(pc.list_value_length(rows[TURN_ENDS]), 1)
    numbers: NDArray[np.uint32] = counts.to_numpy().astype(np.uint32)
    return numbers


def _gains(rows: pa.Table | None, material: Material, n: int) -> NDArray[np.float64]:
    """Return the gain of each of ``n`` samples in nats; NaN where not known."""
    if rows is None or not _is_of_scores(material):
        return np.full(n, np.nan)
    return gains(rows)


def _least(gain: NDArray[np.float64]) -> list[int]:
    """Return the samples of least gain, the least first."""
    order = np.argsort(gain, kind="stable")[:LISTED]
    return [int(i) for i in order if not np.isnan(gain[i])]


def _is_of_scores(material: Material) -> bool:
    """Return whether columns of scores in the rows are ours, and not a user's."""
    return material.origin is not None or not material.by_id


def _rows(
    material: Material, names: Sequence[str], first: NDArray[np.intp]
) -> tuple[pa.Table | None, list[str]]:
    """Return the row of each sample in the data, and notes for the head of the page.

    There are no rows if a run has no data to read texts from.
    """
    if material.rows is None:
        return None if material.by_id else material.table.take(first), []
    places, differing = places_of(pa.array(names, pa.string()), material.rows)
    notes = []
    if differing:
        notes.append(
            f"{len(differing):,} ids, such as {differing[0][:_LONGEST_ID]}, are of several "
            "rows that differ: their texts are not shown. Give each row an id of its own."
        )
    return material.rows.take(places), notes


def _by_priority(
    worst: Sequence[int], often: Mapping[str, Any] | None, visits: Visits
) -> list[int]:
    """Return the samples by priority of their texts: those in lists first, then random ones."""
    in_lists = [*worst, *(often["samples"] if often else [])]
    rest = np.random.default_rng(seed_of("texts of a page")).permutation(np.unique(visits.sample))
    return list(dict.fromkeys([*in_lists, *(int(i) for i in rest)]))


def _texts(
    rows: pa.Table, samples: Sequence[int], turns: NDArray[np.int64], material: Material
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the texts of as many samples as fit into a page, and notes for its head."""
    names = text_columns(rows.column_names)
    if not names:
        return [], ["The texts are not in this page: the data have no column of a known format."]
    pictures = [name for name in IMAGE_COLUMNS if name in rows.column_names]
    columns = [*names, *columns_beside(names, rows.column_names), *pictures]
    texts: list[dict[str, Any]] = []
    size = 0
    for start in range(0, len(samples), 256):
        batch = samples[start : start + 256]
        for sample, row in zip(batch, rows_of(rows.select(columns).take(batch)), strict=True):
            if all(row[name] is None for name in names):
                continue
            shown = shown_pictures({name: row.pop(name) for name in pictures})
            text = text_of(row, names, int(turns[sample]))
            size += len(text.prompt) + len(text.answer) + 200
            size += sum(len(value) for one in shown for value in one.values())
            texts.append(
                {"sample": sample, **text._asdict(), **({"images": shown} if shown else {})}
            )
        if size > TEXT_BYTES:
            break
    notes = []
    if len(texts) < len(samples):
        notes.append(f"The page holds the texts of {len(texts):,} of {len(samples):,} samples.")
    if "token_nll" in rows.column_names and material.origin is not None:
        try:
            _add_tokens(texts, rows, turns, material)
        except UsageError as error:
            notes.append(f"Tokens are not shown: {error}")
    return texts, notes


def _add_tokens(
    texts: list[dict[str, Any]], rows: pa.Table, turns: NDArray[np.int64], material: Material
) -> None:
    assert material.origin is not None
    # The tokens of long answers, which are cut, would take most of the page.
    uncut = [text for text in texts if not text["cut"]]
    text_rows = rows.take(pa.array([text["sample"] for text in uncut], pa.int64()))
    data = text_rows.drop_columns([name for name in ADDED if name in text_rows.column_names])
    pieces = answer_pieces(data, material.origin)
    for text, tokens, row in zip(uncut, pieces, text_rows.to_pylist(), strict=True):
        if len(tokens) != len(row["token_nll"]):
            raise UsageError("the rows have other tokens than when they were scored; score again")
        part = part_of_turn(row, int(turns[text["sample"]]))
        if part is None:
            continue
        own = range(len(tokens))[part]
        text["tokens"] = tokens[part]
        text["nll"] = array(np.array(row["token_nll"][part], dtype=np.float32))
        text["entropy"] = array(np.array(row["token_entropy"][part], dtype=np.float32))
        ends = row.get(TURN_ENDS, [len(tokens) - 1])  # where not known, the last
        ends = [place - own.start for place in ends if place in own]
        text["ends"] = array(np.array(ends, dtype=np.uint32))
        if row.get("token_kept") is not None:
            text["kept"] = array(np.array(row["token_kept"][part], dtype=np.uint8))


def _select(
    keep: NDArray[Any], names: list[str], columns: list[Column], texts: list[dict[str, Any]]
) -> tuple[list[str], list[Column]]:
    """Select names and columns of some samples; set the samples of texts to their new places."""
    place = {int(old): new for new, old in enumerate(keep)}
    for text in texts:
        text["sample"] = place[text["sample"]]
    return (
        [names[i] for i in keep],
        [Column(c.name, c.values[keep], c.names) for c in columns],
    )


def _with_places(visits: Visits, place: Mapping[int, int]) -> Visits:
    sample = np.array([place[int(i)] for i in visits.sample], dtype=np.uint32)
    return Visits(**{**vars(visits), "sample": sample})
