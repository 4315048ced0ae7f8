"""How far two sets of decisions agree, as the page shows it."""

from collections.abc import Sequence
from typing import Any

from ..offline.diff import QUADRANT_LABELS, Difference
from .material import Material

MOST = 50


def differences(material: Material, names: Sequence[str]) -> dict[str, Any]:
    """The agreement in numbers, and the samples decided differently, as far as they are shown.

    Args:
        material: With an agreement.
        names: Of the samples in the page, by their place.

    Returns:
        ``facts`` of name and value, ``quadrants`` (names and counts), ``samples`` (places), the
        ``header`` of what is said of each, and ``values``, by place.
    """
    found = material.agreement
    assert found is not None
    place = {name: i for i, name in enumerate(names)}
    shown = [one for one in found.differing if one.sample_id in place][:MOST]
    facts = {
        "A": material.title,
        "B": material.against,
        "samples in both": f"{found.both:,}",
        "kept by both": f"{found.kept_by_both:,}",
        "by A alone": f"{found.kept_by_a:,}",
        "by B alone": f"{found.kept_by_b:,}",
        "Jaccard": f"{found.jaccard:.2f} (chance {found.chance_jaccard:.2f})",
        "kappa": f"{found.kappa:.2f}",
        "rank correlation of perplexity": f"{found.ppl_correlation:.2f}",
        "of entropy": f"{found.entropy_correlation:.2f}",
    }
    return {
        "facts": list(facts.items()),
        "quadrants": {
            "names": list(QUADRANT_LABELS),
            "counts": [list(row) for row in found.quadrants],
        },
        "samples": [place[one.sample_id] for one in shown],
        "header": ["A", "B", "perplexity in A", "in B"],
        "values": {place[one.sample_id]: _values(one) for one in shown},
    }


def _values(one: Difference) -> list[str]:
    fates = ["kept" if side.kept else "dropped" for side in (one.a, one.b)]
    return fates + ["-" if side.ppl is None else f"{side.ppl:.4g}" for side in (one.a, one.b)]
