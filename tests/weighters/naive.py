"""The rules of the token weighters from their publications, in float64 on whole logits."""

import math

import torch
from torch import Tensor

from qtuning import PruningArguments


def rule(name: str, args: PruningArguments, logits: Tensor, base: Tensor, gold: Tensor):
    """Weight and reported loss of each token, and whether the loss is divided by the weights' sum.

    Args:
        name: The weighter.
        args: Its options.
        logits: Of the model being trained, ``(T, V)``.
        base: Of the model before training, ``(T, V)``.
        gold: The actual tokens, ``(T,)``.
    """
    at = gold[:, None]
    p = logits.double().softmax(-1).gather(1, at)[:, 0]
    p_base = base.double().softmax(-1)
    own = p_base.gather(1, at)[:, 0]
    nll, masks = -p.log(), False
    if name == "none":
        weights = torch.ones_like(p)
    elif name == "dft":
        weights = p
    elif name == "eaft":
        top = logits.double().sort(-1, descending=True).values[:, :20].softmax(-1)
        entropy = -(top * top.log()).sum(-1)
        scale = {"paper": math.log(20), "llamafactory": 3.0, "axolotl": 1.0}[args.eaft_form]
        weights = (entropy / scale) ** args.eaft_exponent
    elif name == "power":
        above = args.power_side == "above"
        side = (p >= args.power_tau) if above else (p <= args.power_tau)
        losses = nll if args.power_q == 0 else (1 - p**args.power_q) / args.power_q
        return p**args.power_q * side, losses * side, False
    elif name == "prift" and args.prift_form == "prob":
        weights = own
    elif name == "prift":
        weights = ((p_base * (p_base <= own[:, None])).sum(-1) >= 0.5).double()
        masks = True
    else:
        weights = (1 / own <= args.stm_threshold).double()
        masks = True
    return weights, weights * nll, masks


OPTIONS = [
    ("none", {}),
    ("dft", {}),
    ("eaft", {}),
    ("eaft", {"eaft_form": "llamafactory", "eaft_exponent": 2.0}),
    ("eaft", {"eaft_form": "axolotl", "eaft_exponent": 0.5}),
    ("power", {}),
    ("power", {"power_q": 0.0}),
    ("power", {"power_q": 0.75, "power_tau": 0.05, "power_side": "below"}),
    ("power", {"power_q": 0.5, "power_tau": 0.01}),
    ("prift", {}),
    ("prift", {"prift_form": "mass"}),
    ("stm", {"stm_threshold": 20.0}),
]
"""Each weighter with each form of its rule; thresholds lie amid a tiny model's probabilities."""
IDS = [" ".join([name, *map(str, options.values())]) for name, options in OPTIONS]
