"""Every combination that is refused, on a stand-in: most of them need machines we have not."""

from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

from qtuning import UsageError
from qtuning.support import check_supported

from . import tiny


def stand_in(**changes):
    parallel = changes.pop("parallel", None)
    model = changes.pop("model", None) or tiny.llama()
    accelerator = SimpleNamespace(
        parallelism_config=parallel,
        dispatch_batches=changes.pop("dispatch_batches", None),
        distributed_type=changes.pop("distributed_type", DistributedType.NO),
        state=SimpleNamespace(
            fsdp_plugin=SimpleNamespace(fsdp_version=changes.pop("fsdp_version", 2))
        ),
    )
    loss_kwargs = changes.pop("model_accepts_loss_kwargs", True)
    args = SimpleNamespace(
        **{
            "n_gpu": 0,
            "world_size": 1,
            "average_tokens_across_devices": True,
            "packing": False,
            "packing_strategy": "bfd",
            **changes,
        }
    )
    return SimpleNamespace(
        accelerator=accelerator,
        args=args,
        model=model,
        model_accepts_loss_kwargs=loss_kwargs,
        compute_loss_func=None,
    )


def test_what_is_supported_passes() -> None:
    check_supported(stand_in())
    check_supported(stand_in(packing=True))
    check_supported(stand_in(n_gpu=1, world_size=2))
    check_supported(stand_in(distributed_type=DistributedType.FSDP))
    lora = LoraConfig(target_modules=["q_proj"])
    check_supported(stand_in(model=get_peft_model(tiny.llama(), lora)))
    # An older TRL and a plain Trainer do not have all the options.
    plain = stand_in()
    del plain.args.packing, plain.args.packing_strategy
    check_supported(plain)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"parallel": SimpleNamespace(cp_enabled=True, sp_enabled=False)}, "context"),
        ({"parallel": SimpleNamespace(cp_enabled=False, sp_enabled=True)}, "sequence"),
        ({"n_gpu": 2}, "DataParallel"),
        ({"packing": True, "packing_strategy": "wrapped"}, "wrapped"),
        ({"dispatch_batches": True}, "dispatch_batches"),
        ({"world_size": 2, "average_tokens_across_devices": False}, "average_tokens"),
        ({"model_accepts_loss_kwargs": False}, "num_items_in_batch"),
        ({"distributed_type": DistributedType.FSDP, "fsdp_version": 1}, "fsdp_version"),
        ({"train_sampling_strategy": "batch_rebalance"}, "batch_rebalance"),
    ],
)
def test_what_is_not_is_refused_in_one_line_that_says_what_to_do(changes, why) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        check_supported(stand_in(**changes))
    assert "\n" not in str(refused.value)


def test_prompt_learning_and_adapters_on_the_head_are_refused() -> None:
    prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(UsageError, match="prompt-learning"):
        check_supported(stand_in(model=get_peft_model(tiny.llama(), prefix)))
    head = LoraConfig(target_modules=["lm_head"])
    with pytest.raises(UsageError, match="LM head"):
        check_supported(stand_in(model=get_peft_model(tiny.llama(), head)))
