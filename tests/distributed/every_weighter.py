"""Short runs with every weighter for `accelerate launch`: every_weighter.py FOLDER REFERENCE N."""

import sys
from pathlib import Path
from typing import Any

from accelerate import PartialState

from .. import runs, tiny
from ..weighters.naive import IDS, OPTIONS
from ..weighters.steps import SGD, tokenised

ROWS = 10  # 8 in the first step, 2 in the last: one rank of two has none of its own there
ONE_PASS = {"one_pass": True, "pool_scope": "micro"}


def main() -> None:
    folder, reference, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    cases: dict[str, tuple[Any, dict[str, Any]]] = {
        name: (tiny.dataset(ROWS), {"token_weight": weighter, **options})
        for name, (weighter, options) in zip(IDS, OPTIONS, strict=True)
    }
    for name in ("prift mass", "stm 20.0"):  # a small step may have no token left
        whole = {"sample_ratio": 1.0, "token_pruner": "none", "per_device_train_batch_size": 4}
        cases[name] = (tiny.dataset(16), {**cases[name][1], **whole})
    for name in ("none", "dft"):
        cases[f"{name} users"] = (tokenised(weights=True, n=ROWS), cases[name][1])
    cases["stm 20.0 users"] = (tokenised(weights=True, n=16), cases["stm 20.0"][1])
    cases["eaft one pass"] = (tokenised(weights=True, n=ROWS), {"token_weight": "eaft", **ONE_PASS})
    cases["dft whole"] = (tiny.dataset(ROWS), {"token_weight": "dft", "sample_ratio": 1.0})
    for name, (data, settings) in cases.items():
        trainer = runs.pruning(
            folder / name,
            **{
                **SGD,
                "max_steps": 4,
                "learning_rate": 0.02,
                "data": data,
                "model": tiny.llama(),
                "reference_model_name_or_path": reference,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": n,
                "sample_ratio": 0.6,
                **settings,
            },
        )
        trainer.train()
        trainer.save_model()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
