"""What a trainer needs to be told where the data have images."""

from collections.abc import Iterator

from transformers import Trainer
from trl import SFTTrainer

from ..arguments import PruningArguments
from ..examples.adapter import has_image_data
from ..io.vision import image_ids_of
from ..io.weights import MESSAGE_WEIGHTS
from ..pruners.pair import Pruners
from ..pruners.protocols import OF_ALONE, OF_IMAGES
from ..weighters.registry import weighter_of


def divide_by_items(trainer: Trainer, prunes: bool) -> None:
    """Have the loss of a pruned step divided by its number of answer tokens.

    Qwen's vision-language models take no ``num_items_in_batch``, so the stock trainer averages the
    means of micro-batches. TRL's loss divides by the number of items itself, whatever the model
    takes; for pruned steps, whose micro-batches differ, it must. Where nothing is pruned, the loss
    stays the stock one.
    """
    if prunes and isinstance(trainer, SFTTrainer) and vars(trainer).get("_is_vlm"):
        trainer.model_accepts_loss_kwargs = True


def drops(pruning: PruningArguments) -> bool:
    """Whether tokens will be taken out of examples."""
    return pruning.token_mode == "drop" and pruning.token_ratio < 1.0


def leaves_stock_loss(trainer: Trainer, pruning: PruningArguments) -> bool:
    """Whether the run is one of images in which nothing is pruned or weighted."""
    return has_image_data(trainer) and not (Pruners.of(pruning).prune or weighter_of(pruning))


def refused(
    trainer: Trainer, needs: frozenset[str], pruning: PruningArguments, *, is_sharded: bool
) -> Iterator[tuple[bool, str]]:
    """What is refused where the data have images, and why.

    Args:
        trainer: The trainer.
        needs: What the pruners and the token weighter read.
        pruning: The pruning arguments.
        is_sharded: Whether the weights are sharded.
    """
    if not has_image_data(trainer):
        if needs & OF_IMAGES:
            name = pruning.sample_pruner
            yield True, f"sample_pruner {name} on data without a column images or image"
        return
    names = getattr(trainer.train_dataset, "column_names", None) or ()
    args = vars(trainer.args)
    yield (
        is_sharded,
        "images with sharded weights (FSDP, DeepSpeed, tensor parallelism), of which not all ranks "
        "would run the vision tower: train without, e.g. with LoRA and DDP",
    )
    yield (
        not image_ids_of(trainer.model.config),
        f"images with {type(trainer.model).__name__}, whose config names no image token",
    )
    yield (
        pruning.prune_unit == "turn",
        "prune_unit turn on data with images: set prune_unit to sample",
    )
    labels_all = "prompt" not in names and not args.get("assistant_only_loss")
    yield (
        labels_all and drops(pruning),
        "token_mode drop on conversations with images of which every token is trained: set "
        "assistant_only_loss, give prompts and completions, or use token_mode mask",
    )
    yield (
        labels_all and bool(needs & OF_ALONE),
        f"sample_pruner {pruning.sample_pruner} on conversations with images without prompts: set "
        "assistant_only_loss, or give prompts and completions",
    )
    yield (
        MESSAGE_WEIGHTS in names,
        "weights of messages with images: weigh whole rows with loss_weight, or remove them",
    )
