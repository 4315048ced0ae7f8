"""Names and signatures of the installed Axolotl that the plugin relies on.

Anew for another version: `.venv-axolotl/bin/python -m` and the name of this module.
"""

import inspect
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("signatures.json")


def installed() -> dict[str, Any]:
    from axolotl.core.builders import causal
    from axolotl.core.trainers import AxolotlTrainer
    from axolotl.core.training_args import AxolotlTrainingArguments
    from axolotl.integrations.base import BasePlugin
    from axolotl.utils.samplers import MultipackBatchSampler
    from axolotl.utils.schemas.config import AxolotlInputConfig

    def parameters(owner: Any, *names: str) -> dict[str, list[str]]:
        return {name: list(inspect.signature(vars(owner)[name]).parameters) for name in names}

    hooks = [name for name, value in vars(BasePlugin).items() if callable(value)]
    overridden = [name for name, value in vars(AxolotlTrainer).items() if callable(value)]
    return {
        "version": version("axolotl"),
        "plugin": parameters(BasePlugin, *hooks),
        "trainer": parameters(AxolotlTrainer, *overridden),
        "sampler": parameters(MultipackBatchSampler, "__init__", "__len__", "set_epoch"),
        "builder": parameters(causal.HFCausalTrainerBuilder, "build", "build_collator"),
        "config": sorted(AxolotlInputConfig.model_fields),
        "arguments": sorted(AxolotlTrainingArguments.__dataclass_fields__),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(installed(), indent=1) + "\n")
