"""The one place that refuses what pruning does not work with."""

from accelerate.utils import DistributedType, is_peft_model
from transformers import Trainer

from .errors import UsageError


def check_supported(trainer: Trainer) -> None:
    """Refuse combinations that would train something else than asked, most of them silently.

    Raises:
        UsageError: The first one found, with what to do instead.
    """
    for refused, why in (
        (
            _splits_sequences(trainer),
            "context or sequence parallelism splits a sequence over ranks",
        ),
        (
            trainer.args.n_gpu > 1,
            "nn.DataParallel: launch with `accelerate launch`, or make one GPU visible",
        ),
        (_packs_wrapped(trainer), "packing_strategy='wrapped' cuts samples apart: use 'bfd'"),
        (_learns_prompts(trainer), "prompt-learning PEFT methods: use LoRA or full fine-tuning"),
        (_adapts_head(trainer), "an adapter on the LM head: take it out of target_modules"),
        (
            trainer.accelerator.dispatch_batches is True,
            "dispatch_batches=True: set it to false in accelerator_config",
        ),
        (
            trainer.args.world_size > 1 and not trainer.args.average_tokens_across_devices,
            "average_tokens_across_devices=False: the loss is a mean over all ranks' kept tokens",
        ),
        (
            not trainer.model_accepts_loss_kwargs and trainer.compute_loss_func is None,
            f"{type(trainer.model).__name__}, which takes no num_items_in_batch: its loss would be "
            "a mean a micro-batch; pass a compute_loss_func",
        ),
        (_is_fsdp1(trainer), "FSDP version 1: set fsdp_version to 2"),
        (
            _rebalances(trainer),
            "train_sampling_strategy='batch_rebalance': micro-batches are balanced after pruning",
        ),
    ):
        if refused:
            raise UsageError(f"pruning does not support {why}")


def _splits_sequences(trainer: Trainer) -> bool:
    config = trainer.accelerator.parallelism_config
    return config is not None and (config.cp_enabled or config.sp_enabled)


def _packs_wrapped(trainer: Trainer) -> bool:
    args = vars(trainer.args)
    return bool(args.get("packing")) and args.get("packing_strategy") == "wrapped"


def _learns_prompts(trainer: Trainer) -> bool:
    model = trainer.model
    return is_peft_model(model) and bool(model.active_peft_config.is_prompt_learning)


def _adapts_head(trainer: Trainer) -> bool:
    if not is_peft_model(trainer.model):
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(trainer.model.get_output_embeddings(), BaseTunerLayer)


def _is_fsdp1(trainer: Trainer) -> bool:
    accelerator = trainer.accelerator
    return bool(
        accelerator.distributed_type == DistributedType.FSDP
        and accelerator.state.fsdp_plugin.fsdp_version == 1
    )


def _rebalances(trainer: Trainer) -> bool:
    return bool(vars(trainer.args).get("train_sampling_strategy") == "batch_rebalance")
