"""Units: what is kept or dropped in a step, whole samples or the turns of conversations.

A candidate is a whole sample with one forward. Where turns are pruned, each of its turns stands in
for it between the scoring and the dealing of micro-batches, as a candidate with the labels of that
turn alone; what is kept of them is put together again into one example.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..examples.candidate import Candidate
from ..examples.example import Example, n_input_of
from ..examples.turn_examples import joined, n_up_to_labels, of_turn
from ..pruners.protocols import SAMPLE_EXTRAS


def units_of(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The turns of candidates, in order; a sample without answer tokens stays one unit.

    A turn's scores are its part of the sample's. Where a sample's NLL is not finite anywhere, that
    of all its turns is NaN: what is wrong there reaches the gradients of every one.

    Args:
        candidates: Whole samples; their extras for sample pruners have a row for each turn.
    """
    return [unit for place, whole in enumerate(candidates) for unit in _units(whole, place)]


def _units(whole: Candidate, place: int) -> list[Candidate]:
    """The turns of one sample."""
    if not whole.turns:
        return [replace(whole, whole=place)]
    nll = whole.nll
    if nll is not None and not bool(nll.isfinite().all()):
        nll = torch.full_like(nll, torch.nan)
    units, start = [], 0
    for number, turn in enumerate(whole.turns):
        part = slice(start, start + turn.n_tokens)
        start = part.stop
        answers = whole.answers[part]
        units.append(
            replace(
                whole,
                example=of_turn(whole.example, answers),
                answers=answers,
                nll=_part(nll, part),
                entropy=_part(whole.entropy, part),
                extras={
                    name: values[number] if name in SAMPLE_EXTRAS else values[part]
                    for name, values in whole.extras.items()
                },
                scored_tokens=0 if number else whole.scored_tokens,
                loss_weight=_part(whole.loss_weight, part),
                turns=(),
                whole=place,
                turn=turn,
                leads=not number,
            )
        )
    return units


def _part(values: Tensor | None, part: slice) -> Tensor | None:
    """A part of the values of answer tokens, in memory of its own, since it may be sent."""
    return None if values is None else values[part].clone()


def give_back(candidates: Sequence[Candidate], units: Sequence[Candidate]) -> None:
    """Give what was computed of turns for sample pruners to the samples that they are of.

    Args:
        candidates: Whole samples.
        units: All their units, from ``units_of``.
    """
    units_at: dict[int, list[Candidate]] = {}
    for unit in units:
        if unit.whole is not None:
            units_at.setdefault(unit.whole, []).append(unit)
    for place, parts in units_at.items():
        candidates[place].scored_tokens = sum(unit.scored_tokens for unit in parts)
        for name in parts[0].extras.keys() & SAMPLE_EXTRAS:
            candidates[place].extras[name] = torch.stack([unit.extras[name] for unit in parts])


def wholes_of(candidates: Sequence[Candidate], units: Sequence[Candidate]) -> list[Candidate]:
    """The whole samples that units are of, each once, in order; whole samples as they are."""
    if all(unit.whole is None for unit in units):
        return list(units)
    places = dict.fromkeys(unit.whole for unit in units)
    return [candidates[place] for place in places if place is not None]


def put_together(
    units: Sequence[Candidate], examples: Sequence[Example], *, cut: bool
) -> list[Example]:
    """The examples to train on, of which each has one forward.

    Args:
        units: Kept units that have kept tokens.
        examples: The pruned example of each.
        cut: Whether a conversation ends with the last token that has a label: no earlier token sees
            what is behind it.
    """
    if all(unit.whole is None for unit in units):
        return list(examples)
    parts_of: dict[int | None, list[Example]] = {}
    for unit, example in zip(units, examples, strict=True):
        parts_of.setdefault(unit.whole, []).append(example)
    return [joined(parts, cut=cut) for parts in parts_of.values()]


def trained_tokens(
    units: Sequence[Candidate], examples: Sequence[Example], *, cut: bool
) -> list[int]:
    """The input tokens that are trained on because of each unit; arguments as in ``put_together``.

    Those of a conversation count with the first of its units, and with the others as 0.
    """
    if all(unit.whole is None for unit in units):
        return [n_input_of(example) for example in examples]
    ends: dict[int | None, int] = {}
    for unit, example in zip(units, examples, strict=True):
        end = n_up_to_labels(example) if cut else n_input_of(example)
        ends[unit.whole] = max(ends.get(unit.whole, 0), end)
    return [ends.pop(unit.whole, 0) for unit in units]
