"""Sharded weights on the CPU: FSDP2, which accelerate offers accelerators only, and DeepSpeed."""

from typing import Any

from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin


def shard_on_the_cpu() -> dict[str, Any]:
    """Set accelerate up for FSDP2 over gloo; returns the settings that make a trainer keep to it.

    Only the kind of processes is told otherwise than it is; sharding, gathering and saving are
    accelerate's and torch's own.
    """
    PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    Accelerator(cpu=True, fsdp_plugin=plugin, mixed_precision="no")
    return {"accelerator_config": {"use_configured_state": True}}


def zero(stage: int) -> dict[str, Any]:
    """DeepSpeed's configuration of a stage of ZeRO, the rest of it the trainer's."""
    return {
        "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    }
