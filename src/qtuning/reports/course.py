"""The course of a run as the page shows it: its losses with their spikes, and fates of samples."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import UsageError
from ..explanation.explain import Explanation
from ..explanation.losses import LOG
from ..explanation.robust import LEAST, WINDOW
from ..explanation.spikes import Spike, Spikes
from ..explanation.summary import FATES, Summary

_POINTS = 400
_SPIKES, _ROWS, _PATHS = 50, 3, 20

Mention = dict[str, Any]
"""A sample that a section names: its ``name``, and its ``place`` in the page or None."""


def course_of(
    told: Explanation, names: Sequence[str]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, list[Mention]]:
    """The sections on losses and on fates, and the samples that they name.

    Args:
        told: The record of the run.
        names: Names of the samples in the page; a sample's place is its index here.

    Returns:
        The section of losses, None if there are too few; the section of fates, None if no sample
        was visited twice; and all samples that they name.
    """
    place = {name: i for i, name in enumerate(names)}
    mentions: list[Mention] = []

    def mention(name: str) -> Mention:
        mentions.append({"name": name, "place": place.get(name)})
        return mentions[-1]

    try:
        found = told.spikes()
    except UsageError:  # no losses on record
        found = None
    n_losses = 0 if found is None else int(np.isfinite(found.losses.loss).sum())
    losses = None if found is None or n_losses <= LEAST else _losses(found, mention)
    summary = told.summary()
    is_seen_twice = bool((summary.table["visits"].to_numpy() > 1).any())
    return losses, _fates(summary, mention) if is_seen_twice else None, mentions


def _losses(found: Spikes, mention: Callable[[str], Mention]) -> dict[str, Any]:
    losses = found.losses
    is_finite = np.isfinite(losses.loss)
    bins = np.array_split(np.flatnonzero(is_finite), min(_POINTS, int(is_finite.sum())))
    source = (
        "The loss as it was logged"
        if losses.source == LOG
        else "The mean NLL of the answers kept, as they were scored before each step"
    )
    most = max(len(part) for part in bins)
    means = f"; the line has means of up to {most:,} of them" if most > 1 else ""
    return {
        "steps": [round(float(losses.step[part].mean()), 1) for part in bins],
        "values": [round(float(losses.loss[part].mean()), 4) for part in bins],
        "note": f"{source}{means}. {len(found.spikes):,} of {len(losses.step):,} losses lie "
        f"{found.threshold:g} or more robust standard deviations above the median of the {WINDOW} "
        "before.",
        "spikes": [_spike(spike, mention) for spike in found.spikes[:_SPIKES]],
    }


def _spike(spike: Spike, mention: Callable[[str], Mention]) -> dict[str, Any]:
    return {
        "step": spike.step,
        "steps": spike.steps,
        "loss": spike.loss if np.isfinite(spike.loss) else None,
        "cells": [_number(spike.loss), _number(spike.usual), f"{spike.score:.1f}"],
        "rows": [
            {"sample": mention(row.sample_id), "lift": _number(lift)}
            for row, lift in spike.lifting(_ROWS)
        ],
    }


def _fates(summary: Summary, mention: Callable[[str], Mention]) -> dict[str, Any]:
    return {
        "counts": [summary.count(fate) for fate in FATES],
        "paths": [
            {"path": one.path, "counts": list(one.counts), "example": mention(one.example)}
            for one in summary.paths[:_PATHS]
        ],
        "n_paths": len(summary.paths),
    }


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
