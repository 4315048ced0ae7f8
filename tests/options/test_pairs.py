"""Two options at once, drawn at random: `make test TEST_ARGS="tests/options -m series"`."""

import random
from dataclasses import replace

import pytest
import trainer_options
from trainer_options import EXACT, Case
from trl import SFTTrainer

from . import ends
from .test_options import ALONE, check_full, check_half

pytestmark = pytest.mark.series
MANY = 100
# What is slow, or shows nothing that depends on another option.
LEFT_OUT = ("torch_compile_mode", "skip_memory_metrics", "dataset_num_proc", "full_determinism")
DRAWN = [
    case
    for case in ALONE
    if case.refused is None and case.resume == EXACT and case.option not in LEFT_OUT
]


def pair(seed: int) -> Case:
    """Two cases in one; those whose scenes or values exclude each other are not drawn."""
    draw = random.Random(seed)
    while True:
        one, other = draw.sample(DRAWN, 2)
        beside = {**one.beside, **other.beside, other.option: other.tried}
        scenes = {one.scene, other.scene} - {None}
        if one.option not in beside and len(scenes) < 2:
            return replace(one, beside=beside, scene=next(iter(scenes), None), alike=None)


@pytest.mark.parametrize("seed", range(MANY))
def test_they_are_answered_together(seed, tmp_path) -> None:
    case = pair(seed)
    if why := ends.lacking(case):
        pytest.skip(why)
    try:
        ends.finish(ends.make(SFTTrainer, case, tmp_path / "tried"))
    except (ValueError, RuntimeError) as error:
        pytest.skip(f"stock: {error}")
    check_full(case, ends.full(case, tmp_path))
    whole = ends.finish(ends.make(SFTTrainer, case, tmp_path / "stock whole", **ends.SAVING))
    again = ends.stop_and_resume(SFTTrainer, case, tmp_path / "stock again")
    resumes = ends.over_a_stop(again) == ends.over_a_stop(whole)
    check_half(
        case if resumes else replace(case, resume=trainer_options.AS_STOCK),
        ends.half(case, tmp_path),
        tmp_path,
    )
