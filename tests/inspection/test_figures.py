"""The figures of rows of tokens, against plain Python."""

from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from qtuning.inspection.figures import NO_END, Special, figures_of
from qtuning.inspection.findings import repeated
from qtuning.inspection.tokens import TokenRows

SPECIAL = Special(ends=(1, 3), stops=frozenset({1}), bos=2, embeddings=8)
_ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=9), min_size=1, max_size=6
)


def dataset(rows, **columns):
    return Dataset.from_dict(
        {
            "input_ids": [[token for token, _ in row] for row in rows],
            "labels": [[token if trained else -100 for token, trained in row] for row in rows],
            **columns,
        }
    )


def figures(data, longest=None, keep_end=False):
    rows = TokenRows(data, completion_only=True)
    return figures_of(rows.batches(), SPECIAL, longest, keep_end=keep_end)


def cut(row, longest, keep_end):
    if longest is None:
        return row
    return row[-longest:] if keep_end else row[:longest]


def answers(row):
    """Places of the answer tokens, which the first token never is."""
    return [i for i, (_, trained) in enumerate(row) if trained and i]


def stretches(row):
    parts: list[list[int]] = []
    for place in answers(row):
        if parts and parts[-1][-1] == place - 1:
            parts[-1].append(place)
        else:
            parts.append([place])
    return parts


@given(_ROWS, st.none() | st.integers(1, 9), st.booleans())
def test_figures_are_those_of_plain_python(rows, longest, keep_end) -> None:
    found = figures(dataset(rows), longest, keep_end)
    for i, row in enumerate(rows):
        left, ids = cut(row, longest, keep_end), [token for token, _ in row]
        own = [[ids[place] for place in part] for part in stretches(row)]
        ends = [place for place in answers(row) if ids[place] in (1, 3)]
        content = [
            place
            for place in answers(row)
            if ids[place] not in (1, 3) and not (ends and place > ends[-1])
        ]
        twice = [a for a, b in pairwise(ids) if a == b]
        assert found.whole[i] == len(row)
        assert found.length[i] == len(left)
        assert found.whole_answer[i] == len(answers(row))
        assert found.answer[i] == len(answers(left))
        assert found.trained[i] == bool(answers(left))
        assert found.content[i] == len(content)
        assert found.stretches[i] == len(own)
        assert found.ended[i] == sum(1 in part or 3 in part for part in own)
        last = [token for token in own[-1] if token in (1, 3)] if own else []
        assert found.end[i] == (last[-1] if last else NO_END)
        assert found.doubled_bos[i] == (2 in twice)
        assert found.doubled_end[i] == (1 in twice or 3 in twice)
        assert found.beyond[i] == sum(token >= 8 for token in ids)
    same = repeated(found.hash)
    for i, row in enumerate(rows):
        plain = [[(t, trained and bool(k)) for k, (t, trained) in enumerate(r)] for r in rows]
        assert same[i] == (plain[i] in plain[:i]), row


@given(_ROWS)
def test_batches_do_not_matter(rows) -> None:
    one = figures(dataset(rows))
    data = TokenRows(dataset(rows), completion_only=True)
    single = figures_of((data.batch(i, i + 1) for i in range(len(rows))), SPECIAL, None)
    for name, values in vars(one).items():
        assert np.array_equal(values, vars(single)[name]), name


@pytest.mark.parametrize("completion_only", [True, False])
def test_masks_of_older_trl_are_read(completion_only) -> None:
    data = Dataset.from_dict(
        {
            "input_ids": [[5, 6, 7, 1], [5, 6]],
            "completion_mask": [[0, 0, 1, 1], [0, 1]],
            "assistant_masks": [[1, 1, 1, 0], [1, 1]],
        }
    )
    rows = TokenRows(data, completion_only=completion_only).batch(0, 2)
    expected = [0, 0, 1, 0, 0, 1] if completion_only else [0, 1, 1, 0, 0, 1]
    assert rows.trained.tolist() == list(map(bool, expected))


def test_padding_is_left_out_and_packed_samples_are_rows() -> None:
    padded = [[(0, False), (5, False), (6, True)], [(7, True), (7, True), (0, False)]]
    found = figures(dataset(padded, attention_mask=[[0, 1, 1], [1, 1, 0]]))
    assert found.length.tolist() == [2, 2]
    assert found.answer.tolist() == [1, 1]
    packed = [[(5, True), (6, True), (7, True), (1, True)], [(5, True), (1, True)]]
    found = figures(dataset(packed, seq_lengths=[[2, 2], [2]]))
    assert found.length.tolist() == [2, 2, 2]
    assert found.answer.tolist() == [1, 1, 1]
    assert found.end.tolist() == [NO_END, 1, 1]
