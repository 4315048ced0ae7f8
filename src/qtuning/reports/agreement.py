"""The agreement of two sets of decisions, as the page shows it."""

from collections.abc import Sequence
from typing import Any

from ..offline.diff import QUADRANT_LABELS, Difference
from .material import Material

MOST = 50


def differences(material: Material, names: Sequence[str]) -> dict[str, Any]:
    """Return the agreement in numbers, and at most 50 samples that are decided differently.

    Args:
        material: Material with an agreement.
        names: Names of the samples in the page; a sample's place is its index here.

    Returns:
        ``facts``, pairs of name and value; ``quadrants``, names and counts; ``samples``, places;
        ``header``, the names of the values of a sample; and ``values`` by place.
    """
    agreement = material.agreement
    assert agreement is not None
    place = {name: i for i, name in enumerate(names)}
    samples = [sample for sample in agreement.differing if sample.sample_id in place][:MOST]
    facts = {
        "A": material.title,
        "B": material.against,
        "samples in both": f"{agreement.both:,}",
        "kept by both": f"{agreement.kept_by_both:,}",
        "by A alone": f"{agreement.kept_by_a:,}",
        "by B alone": f"{agreement.kept_by_b:,}",
        "Jaccard": f"{agreement.jaccard:.2f} (chance {agreement.chance_jaccard:.2f})",
        "kappa": f"{agreement.kappa:.2f}",
        "rank correlation of perplexity": f"{agreement.ppl_correlation:.2f}",
        "of entropy": f"{agreement.entropy_correlation:.2f}",
    }
    return {
        "facts": list(facts.items()),
        "quadrants": {
            "names": list(QUADRANT_LABELS),
            "counts": [list(row) for row in agreement.quadrants],
        },
        "samples": [place[sample.sample_id] for sample in samples],
        "header": ["A", "B", "perplexity in A", "in B"],
        "values": {place[sample.sample_id]: _values(sample) for sample in samples},
    }


def _values(sample: Difference) -> list[str]:
    fates = ["kept" if side.kept else "dropped" for side in (sample.a, sample.b)]
    return fates + ["-" if side.ppl is None else f"{side.ppl:.4g}" for side in (sample.a, sample.b)]
