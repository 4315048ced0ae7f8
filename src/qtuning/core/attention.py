"""Who looks at whom within a sample: pure functions on one layer's attention.

``attention`` is ``(L, L)``, a mean over heads; row i is what position i looks at, 0 after i.
``answers`` are the positions of the answer tokens, ``(T,)`` int64, ascending. What is returned is
``(T,)`` float32, one value for each answer token.
"""

import torch
from torch import Tensor


def prompt_attention(attention: Tensor, answers: Tensor) -> Tensor:
    """Attention that each answer token pays to the prompt, in [0, 1] (arXiv:2510.18250).

    The prompt is all that is no answer.
    """
    is_prompt = torch.ones(attention.shape[0], dtype=torch.bool, device=attention.device)
    is_prompt[answers] = False
    return attention[answers][:, is_prompt].sum(1)


def received_attention(attention: Tensor, answers: Tensor, raters: Tensor | None = None) -> Tensor:
    """Mean attention that each answer token receives from later positions (arXiv:2403.06764).

    Without the token itself, and divided by the number of positions that could look: the sum would
    favour early tokens. A token that none could look at gets the mean of the others, 0 if there
    are no others.

    Args:
        attention: See above.
        answers: See above.
        raters: Positions whose attention counts, ``(R,)``; all if None.
    """
    counts = torch.zeros(attention.shape[0], dtype=torch.bool, device=attention.device)
    counts[slice(None) if raters is None else raters] = True
    later = torch.ones_like(attention, dtype=torch.bool).tril(-1) & counts[:, None]
    sums = (attention * later).sum(0)[answers]
    possible = later.sum(0)[answers]
    mean = sums / possible.clamp(min=1)
    seen = possible > 0
    rest = mean[seen].mean() if bool(seen.any()) else mean.new_zeros(())
    return torch.where(seen, mean, rest).float()


def raters(hidden: Tensor, answers: Tensor) -> Tensor:
    """Positions of the answer tokens that resemble the prompt (arXiv:2410.04417, 3.2).

    Similarity is the mean cosine with the prompt's tokens; raters lie at or above its mean over
    the answer.

    Args:
        hidden: Hidden states of the sample, ``(L, D)``.
        answers: See above.

    Returns:
        ``(R,)`` int64; all answer tokens if there is no prompt.
    """
    unit = torch.nn.functional.normalize(hidden.float(), dim=1)
    is_prompt = torch.ones(hidden.shape[0], dtype=torch.bool, device=hidden.device)
    is_prompt[answers] = False
    if not bool(is_prompt.any()):
        return answers
    similarity = unit[answers] @ unit[is_prompt].mean(0)
    # One rounding above the mean would leave an answer of equal tokens without any.
    return answers[similarity >= similarity.mean() - 1e-6]
