"""One optimizer step of a tiny model, and the same step on whole logits in float64."""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from qtuning import PruningArguments

from .. import runs, tiny
from .naive import rule

SGD: dict[str, Any] = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 1e9, "max_steps": 1}
SGD |= {"lr_scheduler_type": "constant", "warmup_steps": 0, "num_train_epochs": 1}
ALL = {"sample_pruner": "full", "token_pruner": "none"}
N = 8


def tokenised(weights: bool = False, n: int = N) -> Dataset:
    """Rows with labels of the completion, and with weights that the token ids determine."""
    ids = tiny.tokenizer()
    made = []
    for row in tiny.rows(n):
        prompt, answer = ids(row["prompt"])["input_ids"], ids(row["completion"])["input_ids"]
        one = {"input_ids": [*prompt, *answer], "labels": [-100] * len(prompt) + answer}
        if weights:
            one["loss_weight"] = list(map(weight_of, one["input_ids"]))
        made.append(one)
    return Dataset.from_list(made)


def weight_of(token: int) -> float:
    return 0.25 * (1 + token % 5)


def step(folder, **settings) -> Any:
    """A trainer after one step on all rows."""
    trainer = runs.pruning(
        folder,
        **{
            **SGD,
            **ALL,
            "model": tiny.llama(),
            "data": tokenised(),
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": N // 4,
            **settings,
        },
    )
    trainer.train()
    return trainer


def change(trainer: Any) -> Tensor:
    """What the step has changed in the model's weights, as a vector."""
    before = tiny.llama().state_dict()
    after = trainer.model.state_dict()
    return torch.cat([(after[k].cpu() - v).flatten() for k, v in before.items()])


def naive_step(args: PruningArguments, base: Any, rows: Dataset) -> tuple[float, Tensor]:
    """Loss and change of the weights by a step on all rows, one row at a time."""
    model, base = tiny.llama().double(), base.double()
    logits, base_logits, gold, users = [], [], [], []
    for row in rows:
        ids, labels = torch.tensor(row["input_ids"])[None], torch.tensor(row["labels"])
        at = (labels[1:] != -100).nonzero()[:, 0]
        logits.append(model(ids).logits[0, at])
        base_logits.append(base(ids).logits[0, at].detach())
        gold.append(labels[at + 1])
        users.append(torch.tensor(row.get("loss_weight", [1.0] * len(labels)))[at + 1].double())
    now, labels, user = torch.cat(logits), torch.cat(gold), torch.cat(users)
    name = args.token_weight
    weights, losses, masks = rule(name, args, now, torch.cat(base_logits), labels)
    nll = -now.log_softmax(-1).gather(1, labels[:, None])[:, 0]
    # The gradient of power is that of its loss; any other weight has none of its own.
    per_token = losses if name == "power" else weights.detach() * nll
    total = (user * weights.detach() if masks else user).sum()
    loss = (user * per_token).sum() / total
    loss.backward()
    grads = [p.grad for p in model.state_dict(keep_vars=True).values()]
    return float(loss), torch.cat([-g.flatten() for g in grads]).float()
