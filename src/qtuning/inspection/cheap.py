"""The part of an inspection that ``qtuning train`` runs by itself: what tokens alone tell."""

from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, Trainer

from ..run.messages import tell
from .figures import figures_of
from .findings import ordered
from .prepare import special_ids
from .result import Finding
from .shown import cut_of
from .token_findings import token_findings
from .tokens import TokenRows

_OF_TOKENIZER = ("ids-beyond-embeddings", "markers-split", "padding-is-end")
"""What can be told of rows that packing has split: they begin and end anywhere."""


def tell_findings(trainer: Trainer) -> None:
    """Print the errors in a trainer's rows, and how many warnings there are.

    Rows are as TRL has cut or packed them, so row numbers are not known. A stream is not looked at.

    Args:
        trainer: The trainer, before it trains.
    """
    if not trainer.is_world_process_zero():
        return
    found = cheap_findings(trainer)
    errors = [one for one in found if one.level == "error"]
    n_warnings = sum(one.level == "warning" for one in found)
    for one in errors:
        tell(trainer.args, f"Error in the data: {one.what}; {one.advice}.")
    if errors or n_warnings:
        warnings = f"{n_warnings} warning{'' if n_warnings == 1 else 's'}"
        tell(
            trainer.args,
            f"Data: {len(errors)} error{'' if len(errors) == 1 else 's'}, {warnings}; run `qtuning "
            "inspect` with the same options to see them.",
        )


def cheap_findings(trainer: Trainer) -> tuple[Finding, ...]:
    """What is found in a trainer's tokens, errors first, without row numbers.

    Args:
        trainer: The trainer, before it trains.
    """
    rows, tokenizer = trainer.train_dataset, trainer.processing_class
    args: Any = trainer.args
    if not isinstance(rows, Dataset) or not isinstance(tokenizer, PreTrainedTokenizerBase):
        return ()
    if "input_ids" not in rows.column_names or not len(rows):
        return ()
    tokens = TokenRows(rows, completion_only=args.completion_only_loss is not False)
    special = special_ids(trainer.model, tokenizer)
    figures = figures_of(tokens.batches(), special, None)
    longest = cut_of(args).longest
    split = args.packing and longest is None
    found = token_findings(
        figures,
        tokens,
        tokenizer,
        tokenizer.chat_template,
        special,
        longest=longest,
        may_be_cut=(figures.length >= args.max_length) if args.max_length else figures.length < 0,
    )
    return ordered(one for one in found if not split or one.name in _OF_TOKENIZER)
