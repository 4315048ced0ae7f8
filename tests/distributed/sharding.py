"""FSDP2 on the CPU, which accelerate offers only to what it takes for accelerators."""

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
