"""Pruning arguments put among training arguments that another program has made."""

import functools
from dataclasses import make_dataclass
from typing import Any

from transformers import TrainingArguments

from ..arguments import PruningArguments, pruning_values


def with_arguments(args: TrainingArguments, pruning: PruningArguments) -> Any:
    """Training arguments with pruning among them, as if made of a class with both as bases.

    They are what trackers log and what a checkpoint's ``training_args.bin`` holds.

    Args:
        args: Training arguments of any class, checked and changed by the program that made them.
            They are left as they are.
        pruning: The pruning arguments, checked.

    Returns:
        An object of a subclass of both classes, which can be pickled.
    """
    made = _blank(type(args))
    vars(made).update(vars(args) | pruning_values(pruning))
    return made


def _blank(kind: Any) -> Any:
    """An object of the combined class without attributes: nothing is checked or set up again."""
    return object.__new__(_combined(kind))


@functools.cache
def _combined(kind: Any) -> Any:
    """The subclass of ``PruningArguments`` and of a class of training arguments; there is one."""
    return make_dataclass(
        f"Pruning{kind.__name__}",
        [],
        bases=(PruningArguments, kind),
        namespace={"__reduce_ex__": _reduce, "__doc__": f"{kind.__name__} with pruning arguments."},
        repr=False,
        eq=False,
    )


def _reduce(args: Any, protocol: Any) -> tuple[Any, ...]:
    """How the arguments are pickled: by their own class, since no module has the combined one."""
    plain: Any = object.__reduce_ex__(args, max(2, int(protocol)))
    return (_blank, (type(args).__mro__[2],), *plain[2:])
