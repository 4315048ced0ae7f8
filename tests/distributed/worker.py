"""A training run for `accelerate launch`: worker.py OUTPUT_DIR SETTINGS_AS_JSON [ROWS]."""

import json
import sys
from pathlib import Path

from tests import runs, tiny


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    trainer = runs.pruning(
        folder,
        data=tiny.dataset(int(sys.argv[3])),
        model=tiny.llama(),  # no dropout: ranks draw differently from one process
        **settings,
    )
    fetched: list[int] = []
    original = trainer.get_batch_samples

    def counting(*args):
        batches, items = original(*args)
        fetched.append(len(batches))
        return batches, items

    trainer.get_batch_samples = counting
    trainer.train(resume_from_checkpoint=settings.get("resume_from_checkpoint"))
    trainer.save_model()
    rank = trainer.accelerator.process_index
    (folder / f"rank{rank}.json").write_text(
        json.dumps({"steps": trainer.state.global_step, "micro_batches": fetched})
    )


if __name__ == "__main__":
    main()
