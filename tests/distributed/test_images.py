"""Two gloo processes train on rows with images as one, and send each other hardly any picture."""

import json

import pytest
import torch
from safetensors.torch import load_file

from qtuning import read_ledger

from .. import processes, vision
from .test_two_processes import DECISIONS

pytestmark = pytest.mark.cpu("several ranks, which talk over gloo")
# Neither SGD nor this norm hides a wrong factor on the gradients, as Adam and clipping would.
PLAIN = {"optim": "sgd", "learning_rate": 0.02, "max_grad_norm": 1e9, "sample_ratio": 0.5}
PLAIN |= {"per_device_train_batch_size": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llava", {"token_mode": "drop"}),
        ("qwen2_5_vl", {"sample_pruner": "image-gain", "token_pruner": "random"}),
        ("gemma3", {"sample_ratio": 0.0625}),
    ],
    ids=["dropped tokens", "gains by images", "one rank has nothing to train on"],
)
def test_two_processes_decide_and_train_as_one(tmp_path, family, settings) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    settings = {**PLAIN, **settings}
    alone = vision.trainer(
        one, family, data=vision.dataset(14), gradient_accumulation_steps=4, **settings
    )
    alone.train()
    alone.save_model()
    settings["gradient_accumulation_steps"] = 2
    arguments = [str(two), family, json.dumps(settings)]
    processes.launch("tests.distributed.images_worker", 2, arguments, tmp_path)
    first, second = read_ledger(one), read_ledger(two)
    assert first.num_rows == 2 * 14
    assert first.select(DECISIONS).equals(second.select(DECISIONS))
    weights, others = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=1e-4)
    sent = [json.loads((two / f"rank{rank}.json").read_text())["sent"] for rank in range(2)]
    stored = [len(image["bytes"]) for row in alone.train_dataset for image in row["images"]]
    # Half of the rows are kept in each of two epochs, so all kept pictures are as many bytes.
    assert sum(map(sum, sent)) < sum(stored) / 3
