"""A training run on rows with images for several ranks: images_worker.py FOLDER FAMILY SETTINGS."""

import json
import sys
from pathlib import Path

import qtuning.ranks

from .. import sizes, vision


def main() -> None:
    folder, family, settings = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    sent: list[int] = []
    original = qtuning.ranks.gather_object

    def counting(items):
        sent.append(sizes.sent(items)[0])
        return original(items)

    qtuning.ranks.gather_object = counting
    trainer = vision.trainer(folder, family, data=vision.dataset(14), **settings)
    trainer.train()
    trainer.save_model()
    rank = trainer.accelerator.process_index
    (folder / f"rank{rank}.json").write_text(json.dumps({"sent": sent}))
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
