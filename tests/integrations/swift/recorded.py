"""Names and signatures of the installed ms-swift that the plug-in relies on.

Anew for another version: `.venv-swift/bin/python -m` and the name of this module.
"""

import inspect
import json
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("signatures.json")


def installed() -> dict[str, Any]:
    from swift.arguments import SftArguments
    from swift.trainers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerFactory
    from swift.trainers.mixin import DataLoaderMixin, SwiftMixin

    def parameters(owner: Any, *names: str) -> dict[str, list[str]]:
        return {name: list(inspect.signature(getattr(owner, name)).parameters) for name in names}

    def methods(owner: Any) -> list[str]:
        return sorted(name for name, value in vars(owner).items() if callable(value))

    return {
        "version": version("ms_swift"),
        "options": sorted(one.name for one in fields(SftArguments) if one.init),
        "arguments": sorted(one.name for one in fields(Seq2SeqTrainingArguments) if one.init),
        "trainers": TrainerFactory.TRAINER_MAPPING,
        "training_arguments": TrainerFactory.TRAINING_ARGS_MAPPING,
        "factory": parameters(TrainerFactory, "get_training_args", "get_trainer_cls"),
        "trainer": parameters(Seq2SeqTrainer, *methods(Seq2SeqTrainer)),
        "mixin": parameters(SwiftMixin, "__init__", "train", "log"),
        "loader": parameters(DataLoaderMixin, *methods(DataLoaderMixin)),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(installed(), indent=1) + "\n")
