"""Every combination that is refused, on a stand-in: most of them need machines we have not."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from accelerate.utils import DistributedType
from datasets import Dataset
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from qtuning import PruningArguments, UsageError, with_pruning
from qtuning.pruners.protocols import BASE, SCORES
from qtuning.pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS
from qtuning.training.support import check_supported

from .. import architectures, device, tiny
from ..invariants.test_stock import PlainArguments


class TorchStream(IterableDataset):
    def __iter__(self):
        return iter([])


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
    tensor_parallel_size = changes.pop("tensor_parallel_size", 1)
    train_dataset = changes.pop("train_dataset", [])
    compute_loss_func = changes.pop("compute_loss_func", None)
    loss_kwargs = changes.pop("model_accepts_loss_kwargs", True)
    args = SimpleNamespace(
        **{
            "n_gpu": 0,
            "world_size": 1,
            "average_tokens_across_devices": True,
            "packing": False,
            "packing_strategy": "bfd",
            "one_pass": False,
            "probe_samples": 0,
            "score_refresh": 1.0,
            "scorer_model_name_or_path": None,
            "reference_model_name_or_path": None,
            "ddp_static_graph": None,
            "label_smoothing_factor": 0.0,
            "optim": "adamw_torch",
            "save_strategy": "no",
            "token_weight": "none",
            **changes,
        }
    )
    return SimpleNamespace(
        accelerator=accelerator,
        args=args,
        model=model,
        train_dataset=train_dataset,
        model_accepts_loss_kwargs=loss_kwargs,
        compute_loss_func=compute_loss_func,
        get_tp_size=lambda: tensor_parallel_size,
    )


def test_what_is_supported_passes() -> None:
    check_supported(stand_in())
    check_supported(stand_in(packing=True))
    check_supported(stand_in(train_dataset=TorchStream()))
    check_supported(stand_in(n_gpu=1, world_size=2))
    check_supported(stand_in(distributed_type=DistributedType.FSDP))
    lora = LoraConfig(target_modules=["q_proj"])
    check_supported(stand_in(model=get_peft_model(tiny.llama(), lora)))
    check_supported(stand_in(one_pass=True, world_size=2, loss_type="nll"))
    check_supported(stand_in(one_pass=True, loss_type="chunked_nll"))
    check_supported(stand_in(), stock_loss=lambda: False)
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
        ({"enable_jit_checkpoint": True}, "stop_on_signals"),
        ({"train_dataset": TorchStream(), "probe_samples": 100}, "probe_samples on a stream"),
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


def test_weights_that_bitsandbytes_repacks_are_refused() -> None:
    model = tiny.llama()
    check_supported(stand_in(model=model))
    model.model.layers[0].mlp.up_proj.support_avx512bf16_for_cpu = True
    with pytest.raises(UsageError, match="without load_in_4bit"):
        check_supported(stand_in(model=model))


def test_weights_that_device_map_has_offloaded_are_refused() -> None:
    model = tiny.llama().to("meta")
    check_supported(stand_in(model=model))  # as where FSDP has not loaded them yet
    model.hf_device_map = {"": "disk"}
    with pytest.raises(UsageError, match="device_map"):
        check_supported(stand_in(model=model))


def test_prompt_learning_and_adapters_on_the_head_are_refused() -> None:
    prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(UsageError, match="prompt-learning"):
        check_supported(stand_in(model=get_peft_model(tiny.llama(), prefix)))
    head = LoraConfig(target_modules=["lm_head"])
    with pytest.raises(UsageError, match="LM head"):
        check_supported(stand_in(model=get_peft_model(tiny.llama(), head)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"distributed_type": DistributedType.FSDP}, "FSDP"),
        ({"distributed_type": DistributedType.DEEPSPEED}, "DeepSpeed"),
        ({"tensor_parallel_size": 2}, "tensor parallelism"),
        ({"ddp_static_graph": True}, "ddp_static_graph"),
        ({"model": architectures.build("mixtral")}, "router auxiliary loss"),
        ({"compute_loss_func": print}, "compute_loss_func"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor"),
        ({"loss_type": "dft"}, "loss_type"),
        ({"optim": OptimizerNames.LOMO}, "backward pass"),
        ({"optim": "galore_adamw_layerwise"}, "backward pass"),
    ],
    ids=str,
)
def test_one_pass_refuses_what_two_passes_can_do(changes, why) -> None:
    check_supported(stand_in(**changes))
    with pytest.raises(UsageError, match=rf"one_pass.*{why}") as refused:
        check_supported(stand_in(one_pass=True, **changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"distributed_type": DistributedType.FSDP}, "FSDP"),
        ({"tensor_parallel_size": 2}, "tensor parallelism"),
        ({"model": architectures.build("mixtral")}, "router auxiliary loss"),
        ({"compute_loss_func": print}, "compute_loss_func"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor"),
        ({"loss_type": "dft"}, "loss_type"),
        ({"use_liger_kernel": True}, "use_liger_kernel"),
    ],
    ids=str,
)
@pytest.mark.parametrize("weights", ["method", "column"])
def test_weights_of_tokens_need_the_plain_loss(changes, why, weights) -> None:
    check_supported(stand_in(**changes))
    rows = Dataset.from_list([{"input_ids": [1, 2], "loss_weight": [1.0, 1.0]}])
    weighs = {"token_weight": "dft"} if weights == "method" else {"train_dataset": rows}
    check_supported(stand_in(**weighs))
    who = "token_weight" if weights == "method" else "the column loss_weight"
    with pytest.raises(UsageError, match=rf"{who} with.*{why}") as refused:
        check_supported(stand_in(**weighs, **changes))
    assert "\n" not in str(refused.value)


def test_one_pass_refuses_a_trainer_class_with_a_loss_of_its_own(tmp_path) -> None:
    class Own(Trainer):
        def compute_loss(self, *args, **kwargs):
            return 1.0 * super().compute_loss(*args, **kwargs)

    @dataclass
    class Arguments(PruningArguments, TrainingArguments):
        pass

    def make(base, one_pass):
        args = Arguments(str(tmp_path), **device.arguments(), one_pass=one_pass, pool_scope="micro")
        return with_pruning(base)(tiny.llama(), args)

    make(Trainer, True)
    make(Own, False)
    with pytest.raises(UsageError, match="another loss than the plain NLL"):
        make(Own, True)


SHARDED = [
    {"distributed_type": DistributedType.FSDP},
    {"distributed_type": DistributedType.DEEPSPEED},
    {"tensor_parallel_size": 2},
]


@pytest.mark.parametrize("changes", SHARDED)
@pytest.mark.parametrize(
    ("pruner", "why"),
    [("fastv", "read attention with sharded weights"), ("ss-token", "with sharded weights")],
)
def test_what_needs_whole_weights_is_refused_where_they_are_sharded(changes, pruner, why) -> None:
    needs = TOKEN_PRUNERS[pruner].needs
    check_supported(stand_in(), needs=needs)
    with pytest.raises(UsageError, match=why):
        check_supported(stand_in(**changes), needs=needs)


@pytest.mark.parametrize("changes", SHARDED)
def test_a_copy_of_sharded_weights_is_refused_and_a_named_model_is_not(changes) -> None:
    with pytest.raises(UsageError, match="name that model as reference_model_name_or_path"):
        check_supported(stand_in(**changes), needs=frozenset({SCORES, BASE}))
    named = stand_in(**changes, reference_model_name_or_path="m")
    check_supported(named, needs=frozenset({SCORES, BASE}))


@pytest.mark.parametrize(
    "changes",
    [*SHARDED, {"compute_loss_func": print}, {"label_smoothing_factor": 0.1}, {"loss_type": "dft"}],
)
def test_weighted_samples_need_a_loss_of_our_own(changes) -> None:
    needs = SAMPLE_PRUNERS["infobatch"].needs
    check_supported(stand_in(), needs=needs)
    with pytest.raises(UsageError, match="a sample pruner that weighs samples with"):
        check_supported(stand_in(**changes), needs=needs)


@pytest.mark.parametrize(
    ("needs", "settings"),
    [
        (SAMPLE_PRUNERS["infobatch-budget"].needs, {}),
        (frozenset({SCORES, BASE}), {}),
        (frozenset({SCORES}), {"score_refresh": 0.5}),
    ],
)
def test_scores_are_not_remembered_by_names_that_several_rows_share(needs, settings) -> None:
    ids = [[1], [2], [3], [2]]
    rows = Dataset.from_dict({"sample_id": ["a", "b", "a", "b"], "input_ids": ids})
    with pytest.raises(
        UsageError, match=r"rows of other texts have one id, as those of \['a'\] do"
    ):
        check_supported(stand_in(train_dataset=rows, **settings), needs=needs)
    check_supported(stand_in(train_dataset=rows), needs=frozenset({SCORES}))
    repeated = rows.select([0, 1, 3])  # the same row twice, by the same name
    check_supported(stand_in(train_dataset=repeated, **settings), needs=needs)


def test_a_pruner_that_checkpoints_cannot_hold_is_refused_before_the_first() -> None:
    def local(pool, args):
        return args

    for saving, is_refused in (("steps", True), ("no", False)):
        args = PlainArguments("out", sample_pruner=local, save_strategy=saving, report_to="none")
        trainer = stand_in()
        trainer.args = args
        if is_refused:
            with pytest.raises(UsageError, match="sample_pruner that cannot be pickled"):
                check_supported(trainer)
        else:
            check_supported(trainer)
    trainer.args = PlainArguments("out", sample_pruner=stand_in, report_to="none")
    check_supported(trainer)
