"""Short runs with every pruner for `accelerate launch`: every_pruner.py FOLDER."""

import sys
from pathlib import Path

from accelerate import PartialState

from .. import runs, tiny

ROWS = 10  # 8 in the first step, 2 in the last: one rank of two has none of its own there


def main() -> None:
    folder = Path(sys.argv[1])
    for sample, token in runs.PAIRS:
        if "random" not in (sample, token) and (sample, token) != ("q-tuning", "q-tuning"):
            continue
        trainer = runs.pruning(
            folder / f"{sample} {token}",
            data=tiny.dataset(ROWS),
            model=tiny.llama(),
            sample_pruner=sample,
            token_pruner=token,
            reference_model_name_or_path=sys.argv[2] if token in runs.COMPARING else None,
            gradient_accumulation_steps=int(sys.argv[3]),
            per_device_train_batch_size=2,
        )
        trainer.train()
        trainer.save_model()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
