"""Algorithm 1 written for reading: plain lists, float64, straight from the method's text."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from qtuning import Selection, select_samples

SCALES = ["ppl", "log_ppl"]


# The reference: Python lists and floats, one sample at a time.


@dataclass
class Cut:
    alpha: float
    ppl_lo: float
    ppl_hi: float
    ent_lo: float
    ent_hi: float
    quadrant: list[int]

    @property
    def count(self) -> int:
        return sum(q in (2, 4) for q in self.quadrant)

    def values(self) -> tuple[float, ...]:
        return self.alpha, self.ppl_lo, self.ppl_hi, self.ent_lo, self.ent_hi


def quantile(values: list[float], g: float) -> float:
    return sorted(values)[max(0, math.ceil(g * len(values) - 1e-9) - 1)]


def level(value: float, lo: float, hi: float) -> str:
    if value >= hi and value <= lo:
        return "high" if value > (hi + lo) / 2 else "low"
    if value >= hi:
        return "high"
    return "low" if value <= lo else "middle"


def quadrant_of(error: str, uncertainty: str) -> int:
    corners = {("high", "high"): 1, ("high", "low"): 2, ("low", "low"): 3, ("low", "high"): 4}
    return corners.get((error, uncertainty), 0)


def iterates(ppl: list[float], ent: list[float], ratio: float, steps: int = 10) -> list[Cut]:
    low, high = 0.0, 0.49
    cuts = []
    for _ in range(steps):
        alpha = (low + high) / 2
        cut = Cut(
            alpha,
            quantile(ppl, alpha),
            quantile(ppl, 1 - alpha),
            quantile(ent, alpha),
            quantile(ent, 1 - alpha),
            [],
        )
        for p, e in zip(ppl, ent, strict=True):
            error = level(p, cut.ppl_lo, cut.ppl_hi)
            cut.quadrant.append(quadrant_of(error, level(e, cut.ent_lo, cut.ent_hi)))
        cuts.append(cut)
        if cut.count / len(ppl) < ratio:
            low = alpha
        else:
            high = alpha
    return cuts


def best(cuts: list[Cut], k: int) -> Cut:
    found = cuts[0]
    for cut in cuts[1:]:
        distance, before = abs(cut.count - k), abs(found.count - k)
        # Nearest; on a tie the one with more kept; then the later.
        if distance < before or (distance == before and cut.count >= found.count):
            found = cut
    return found


def normalise(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [0.5 if low == high else (v - low) / (high - low) for v in values]


def supports(ppl: list[float], ent: list[float], scale: str = "ppl") -> list[float]:
    # The logarithm is torch's: another library's may differ in the last bit and so break a tie.
    error = torch.tensor(ppl, dtype=torch.float64).log().tolist() if scale == "log_ppl" else ppl
    return [abs(p - e) for p, e in zip(normalise(error), normalise(ent), strict=True)]


def naive(
    ppl: list[float], ent: list[float], ratio: float, steps: int = 10, scale: str = "ppl"
) -> tuple[list[int], list[int], Cut]:
    """(kept, filled, cut) of a finite pool."""
    k = max(1, math.floor(ratio * len(ppl) + 1e-9))
    cut = best(iterates(ppl, ent, ratio, steps), k)
    support = supports(ppl, ent, scale)
    ranked = sorted(range(len(ppl)), key=lambda i: (-support[i], i))
    named = [i for i in ranked if cut.quadrant[i] in (2, 4)]
    rest = [i for i in ranked if cut.quadrant[i] not in (2, 4)]
    filled = rest[: max(0, k - len(named))]
    return sorted(named[:k] + filled), sorted(filled), cut


def naive_spearman(x: list[float], y: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < v for other in values) + (sum(other == v for other in values) + 1) / 2
            for v in values
        ]

    a, b = ranks(x), ranks(y)
    middle = (len(x) + 1) / 2
    cov = sum((p - middle) * (q - middle) for p, q in zip(a, b, strict=True))
    var = math.prod(sum((r - middle) ** 2 for r in side) for side in (a, b))
    return cov / math.sqrt(var) if var else math.nan


# Pools


axes: dict[str, Callable[[int], st.SearchStrategy[list[float]]]] = {
    "ties": lambda n: st.lists(st.integers(1, 4).map(float), min_size=n, max_size=n),
    "constant": lambda n: st.floats(1, 50).map(lambda v: [v] * n),
    "wide": lambda n: st.lists(st.floats(1, 1e6), min_size=n, max_size=n),
    "distinct": lambda n: st.permutations([1 + i / 7 for i in range(n)]),
    "outlier": lambda n: st.permutations([1.5 + i / 100 for i in range(n - 1)] + [32_000.0]),
}


@st.composite
def pools(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(axes)) -> tuple[list[float], list[float]]:
    """(ppl, entropy) of 1 to 40 samples: ties, constants, outliers, correlated or not."""
    n = draw(st.integers(1, 40))
    ppl = draw(axes[draw(st.sampled_from(kinds))](n))
    relation = draw(st.sampled_from(["free", "free", "same", "opposite", "noisy"]))
    if relation == "free":
        return ppl, draw(axes[draw(st.sampled_from(kinds))](n))
    noise = random.Random(draw(st.integers(0, 99)))
    sign = -1 if relation == "opposite" else 1
    spread = 0.5 if relation == "noisy" else 0.0
    return ppl, [5 + sign * math.log(p) / 3 + spread * noise.random() for p in ppl]


ratios = st.one_of(
    st.sampled_from([0.0625, 0.125, 0.25, 0.29, 0.3, 0.5, 0.7, 1.0]), st.floats(0.005, 1)
)


def select(
    ppl: list[float],
    ent: list[float],
    ratio: float,
    dtype: torch.dtype = torch.float64,
    steps: int = 10,
    scale: str = "ppl",
) -> Selection:
    return select_samples(
        torch.tensor(ppl, dtype=dtype),
        torch.tensor(ent, dtype=dtype),
        ratio,
        bisect_steps=steps,
        error_scale=scale,
    )


def where(mask: torch.Tensor) -> list[int]:
    assert mask.dtype == torch.bool
    return mask.nonzero().flatten().tolist()


def cut_of(selection: Selection) -> tuple[float, ...]:
    t = selection.thresholds
    assert t is not None
    return t.alpha, t.ppl_lo, t.ppl_hi, t.ent_lo, t.ent_hi


def gaussian(n: int, rho: float, seed: int) -> tuple[list[float], list[float]]:
    """Pool whose log PPL and entropy are jointly normal with correlation ``rho``."""
    draw = random.Random(seed)
    x = [draw.gauss(0, 1) for _ in range(n)]
    y = [rho * v + math.sqrt(1 - rho**2) * draw.gauss(0, 1) for v in x]
    return [math.exp(2 + 0.5 * v) for v in x], [2 + 0.3 * v for v in y]
