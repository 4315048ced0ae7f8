"""The cases that need two processes, all of them in one pair."""

import json
import sys
from pathlib import Path

import trainer_options
from accelerate import PartialState
from trainer_options import Case

from .. import runs
from . import ends

SMALL = {"per_device_train_batch_size": 2}  # so that two processes have two steps an epoch


def cases() -> list[Case]:
    """Those that can be tried with the versions at hand."""
    every = [case for option in trainer_options.options() for case in option.cases]
    # The first one makes the group of processes, and has options of it.
    every.sort(key=lambda case: not case.option.startswith("ddp_"))
    return [case for case in every if case.processes == 2 and not ends.lacking(case)]


def main() -> None:
    """Run all of them, and write down how each ended on this rank."""
    folder, found = Path(sys.argv[1]), {}
    for number, case in enumerate(cases()):
        where = folder / str(number)
        where.mkdir(exist_ok=True)
        if case.refused is not None:
            found[str(case)] = ends.refused(case, where)
            continue
        found[str(case)] = ends.full(case, where, **SMALL)
        if runs.RESUMES_TOGETHER:
            found[str(case)] |= ends.half(case, where, **SMALL)
    state = PartialState()
    (folder / f"rank-{state.process_index}.json").write_text(json.dumps(found))
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    main()
