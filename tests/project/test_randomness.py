"""No two draws of the project are alike by accident, nor like those of a sampler."""

import ast
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset

from qtuning.core.seeds import seed_of, seeded_generator

PACKAGE = Path(__file__).parents[2] / "src" / "qtuning"
MAKERS = {"seeded_generator", "Generator", "manual_seed", "default_rng", "RandomState", "Random"}
SEED, N = 42, 1000
# What stands for the names in the code that makes a generator. The names of samples are words: a
# sample that is called by a number may share a draw with a pool of that step, where a step has
# several pools; to change that would change the decisions of finished runs.
POOL = SimpleNamespace(seed=SEED, step=3, group=1)
COPY = SimpleNamespace(_noise=SimpleNamespace(seed=SEED), _copy=1)
STANDS_FOR = {
    "np": np,
    "random": random,
    "torch": torch,
    "seed_of": seed_of,
    "seeded_generator": seeded_generator,
    "seed": SEED,
    "self": SimpleNamespace(**vars(POOL), **vars(COPY)),
    "example": {"name": "row"},
    "_NAME": "name",
    "pool": POOL,
    "sample": SimpleNamespace(sample_id="row"),
    "name": "row",
    "data": SimpleNamespace(row_seed=SEED),
    "vocab": 49_152,
}


def makers(tree):
    """The calls that make a generator, each as a whole: ``torch.Generator().manual_seed(0)``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Call) and ast.unparse(child.func).split(".")[-1] in MAKERS:
            yield ast.unparse(child)
        else:
            yield from makers(child)


def generators():
    """Where in the package a generator is made, and the code that makes it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        if place != "core/seeds.py":  # makes those that others ask for
            for code in makers(ast.parse(path.read_text(encoding="utf-8"))):
                yield f"{place}: {code}", code


def order(generator):
    """The order into which a generator brings ``N`` rows."""
    if isinstance(generator, torch.Generator):
        return tuple(torch.randperm(N, generator=generator).tolist())
    if isinstance(generator, np.random.Generator):
        return tuple(generator.permutation(N).tolist())
    return tuple(generator.sample(range(N), N))


def orders_of_others():
    """The orders that others draw by a run's seed."""
    sampler = SeedableRandomSampler(range(N), data_seed=SEED)
    for epoch in range(5):
        yield f"accelerate's sampler, epoch {epoch}", tuple(sampler)
    rows = Dataset.from_dict({"row": range(N)}).shuffle(seed=SEED)
    yield "datasets' shuffle", tuple(rows["row"])


def test_generators_are_found_in_code() -> None:
    code = "a = torch.Generator().manual_seed(0)\ndef f(seed=1):\n    g(b(random.Random(seed)))"
    assert list(makers(ast.parse(code))) == [
        "torch.Generator().manual_seed(0)",
        "random.Random(seed)",
    ]
    places = {where.split(":")[0] for where, _ in generators()}
    assert {"run/probe.py", "pruners/random.py", "pruners/protocols.py"} <= places


def test_no_two_draws_are_alike() -> None:
    seen = {row: who for who, row in orders_of_others()}
    assert order(torch.Generator().manual_seed(SEED)) in seen, "a generator of the seed alone"
    for where, code in generators():
        try:
            generator = eval(code, {"__builtins__": {}}, STANDS_FOR)
        except (NameError, AttributeError) as error:
            pytest.fail(f"{where}: {error}; say in STANDS_FOR what stands for it")
        drawn = order(generator)
        assert drawn not in seen, f"{where} draws like {seen[drawn]}"
        seen[drawn] = where
