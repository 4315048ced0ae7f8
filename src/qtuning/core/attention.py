"""Attention between the tokens of one sample: pure functions on one layer's attention.

``attention`` is ``(L, L)``, a mean over heads; row i has the weights that position i gives to each
position, 0 after i. ``answers`` are the positions of the answer tokens, ``(T,)`` int64, ascending.
"""

import torch
from torch import Tensor


def prompt_attention(attention: Tensor, answers: Tensor) -> Tensor:
    """Attention that each answer token pays to the prompt, in [0, 1] (arXiv:2510.18250).

    The prompt is every position without an answer token.

    Args:
        attention: Weights of one layer, ``(L, L)``, a mean over heads.
        answers: Positions of the answer tokens, ``(T,)``.

    Returns:
        ``(T,)`` in the dtype of ``attention``.
    """
    is_prompt = torch.ones(attention.shape[0], dtype=torch.bool, device=attention.device)
    is_prompt[answers] = False
    return attention[answers][:, is_prompt].sum(1)


def received_attention(attention: Tensor, answers: Tensor, raters: Tensor | None = None) -> Tensor:
    """Mean attention that each answer token receives from later positions (arXiv:2403.06764).

    The attention of a token to itself does not count. The sum is divided by the number of positions
    that could look at the token, since a plain sum would favour early tokens. A token that no
    position could look at gets the mean of the other tokens, 0 if there are none.

    Args:
        attention: Weights of one layer, ``(L, L)``, a mean over heads.
        answers: Positions of the answer tokens, ``(T,)``.
        raters: Positions whose attention counts, ``(R,)``; all if None.

    Returns:
        ``(T,)`` float32.
    """
    is_rater = torch.zeros(attention.shape[0], dtype=torch.bool, device=attention.device)
    is_rater[slice(None) if raters is None else raters] = True
    pairs = torch.ones_like(attention, dtype=torch.bool).tril(-1) & is_rater[:, None]
    sums = (attention * pairs).sum(0)[answers]
    n_raters = pairs.sum(0)[answers]
    mean = sums / n_raters.clamp(min=1)
    has_raters = n_raters > 0
    fallback = mean[has_raters].mean() if bool(has_raters.any()) else mean.new_zeros(())
    return torch.where(has_raters, mean, fallback).float()


def raters(hidden: Tensor, answers: Tensor) -> Tensor:
    """Positions of the answer tokens that resemble the prompt (arXiv:2410.04417, 3.2).

    A token's similarity is its mean cosine with the prompt's tokens; raters are the tokens with at
    least the mean similarity of the answer.

    Args:
        hidden: Hidden states of the sample, ``(L, D)``.
        answers: Positions of the answer tokens, ``(T,)``.

    Returns:
        ``(R,)`` int64; all answer tokens if there is no prompt.
    """
    directions = torch.nn.functional.normalize(hidden.float(), dim=1)
    is_prompt = torch.ones(hidden.shape[0], dtype=torch.bool, device=hidden.device)
    is_prompt[answers] = False
    if not bool(is_prompt.any()):
        return answers
    similarity = directions[answers] @ directions[is_prompt].mean(0)
    # Without the tolerance, rounding could leave an answer of equal tokens without any rater.
    return answers[similarity >= similarity.mean() - 1e-6]
