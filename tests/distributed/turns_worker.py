"""Short runs whose units are turns, for `accelerate launch`: turns_worker.py FOLDER BATCHES."""

import sys
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset

from .. import runs, tiny, turned

# Every sample pruner, and token pruners of other kinds than those.
PAIRS = sorted(
    {
        *((sample, "q-tuning") for sample in runs.TEXT_PRUNERS),
        ("el2n", "random"),
        ("tail", "ss-token"),
        ("infobatch-budget", "step-entropy"),
        ("random", "ppl"),
    }
)


def main() -> None:
    folder = Path(sys.argv[1])
    for sample, token in PAIRS:
        trainer = turned.pruning(
            folder / f"{sample} {token}",
            data=Dataset.from_list(turned.rows(10)),  # one rank of two has none of its own last
            model=tiny.llama(),
            sample_pruner=sample,
            token_pruner=token,
            gradient_accumulation_steps=int(sys.argv[2]),
            num_train_epochs=2,
        )
        trainer.train()
        trainer.save_model()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
