"""Token weighter ``prift``.

What: weighs each token by the support of the model before training. ``prift_form`` prob is its
    probability there, p_0, divided by the number of kept tokens. mass is 1 where u >= 0.5, else 0;
    u is the sum of p_0 over all tokens no more probable than this one. That is a mask, so it is
    divided by the number of tokens with weight 1.
Cost: a forward of each kept sample with the model before training, once: LoRA contains that model,
    full fine-tuning keeps a copy. Adapters that are trained already or change the base weights
    (PiSSA, OLoRA) do not contain it.
When: the weights of ``dft`` shall not follow the training.
Source: Prior-Support Guided Fine-Tuning, arXiv:2606.09396.
Differs: ``reference_model_name_or_path`` may name another model. That mass is divided by the sum of
    its weights is our reading of a selection of tokens.
"""

from torch import Tensor

from ..arguments import PruningArguments
from ..pruners.protocols import BASE
from .protocols import BASE_TAIL, TokenBatch, Weighed

_SUPPORTED = 0.5


class PriorSupport:
    """The support of the model before training: p_0, or whether it is among the likelier half."""

    needs = frozenset({BASE, BASE_TAIL})

    def reading(self, args: PruningArguments) -> "PriorSupport":
        """The weighter that reads no more than ``prift_form`` asks for."""
        weighter = PriorSupport()
        weighter.needs = frozenset({BASE if args.prift_form == "prob" else BASE_TAIL})
        return weighter

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Tensor | Weighed:
        """Weigh tokens by what the model before training makes of them."""
        if args.prift_form == "prob":
            assert tokens.base_nll is not None
            return (-tokens.base_nll).exp()
        assert tokens.base_tail is not None
        return Weighed((tokens.base_tail >= _SUPPORTED).float(), masks=True)
