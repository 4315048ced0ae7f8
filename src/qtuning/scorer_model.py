"""Another model that scores in place of the one being trained."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from .errors import UsageError
from .models import load_causal_lm, load_tokenizer


def load_scorer_model(trainer: Trainer) -> PreTrainedModel | None:
    """The model that ``scorer_model_name_or_path`` names, frozen, on the trainer's device.

    Raises:
        UsageError: It cannot be loaded, or its tokenizer is another one.
    """
    name: str | None = trainer.args.scorer_model_name_or_path
    if name is None:
        return None
    if isinstance(trainer.processing_class, PreTrainedTokenizerBase):
        check_same_tokenizer(name, trainer.processing_class)
    model = load_causal_lm(name, dtype="auto")
    return model.requires_grad_(False).eval().to(trainer.args.device)


def check_same_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Token ids must mean the same to both models.

    Raises:
        UsageError: They do not.
    """
    theirs, ours = load_tokenizer(name).get_vocab(), tokenizer.get_vocab()
    if theirs != ours:
        differing = len(theirs.items() ^ ours.items())
        raise UsageError(
            f"scorer_model_name_or_path {name}: its tokenizer is another one ({differing:,} "
            "entries of the vocabularies differ); name a model of the same family"
        )
