"""Names and signatures of the installed LLaMA-Factory that the integration relies on.

Anew for another version: `.venv-llamafactory/bin/python -m` and the name of this module.
"""

import inspect
import json
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("signatures.json")
KINDS = (
    *("ModelArguments", "DataArguments", "TrainingArguments"),
    *("FinetuningArguments", "GeneratingArguments"),
)


def installed() -> dict[str, Any]:
    from llamafactory import hparams
    from llamafactory.train import tuner
    from llamafactory.train.sft import workflow

    trainer = workflow.CustomSeq2SeqTrainer
    options = {
        kind: sorted(one.name for one in fields(vars(hparams)[kind]) if one.init) for kind in KINDS
    }
    parameters = {
        name: list(inspect.signature(function).parameters)
        for name, function in {
            "CustomSeq2SeqTrainer": trainer.__init__,
            "compute_loss": trainer.compute_loss,
            "read_args": hparams.read_args,
            "get_train_args": hparams.get_train_args,
            "run_exp": tuner.run_exp,
            "run_sft": workflow.run_sft,
        }.items()
    }
    overridden = sorted(name for name in vars(trainer) if callable(vars(trainer)[name]))
    return {
        "version": version("llamafactory"),
        "options": options,
        "parameters": parameters,
        "overridden": overridden,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(installed(), indent=1) + "\n")
