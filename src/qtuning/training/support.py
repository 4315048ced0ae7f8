"""Refuse combinations that pruning does not support; the one place that does."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from accelerate.utils import DistributedType, is_peft_model
from datasets import Dataset
from torch.utils.data import IterableDataset as TorchIterableDataset
from transformers import Trainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as _SftCollator

from ..arguments import METHODS, PruningArguments
from ..errors import UsageError
from ..examples.example import SAMPLE_ID, unpack
from ..examples.names import sample_names
from ..examples.prompts import has_prompts
from ..io.weights import LOSS_WEIGHT
from ..pruners.pair import remembers_scores
from ..pruners.protocols import ATTENTION, OF_ALONE, REFERENCE, WEIGHTS
from ..weighters.check import PLAIN_NLL, other_losses
from ..weighters.protocols import FROM_REFERENCE
from ..weighters.registry import weighter_of
from .images import leaves_stock_loss
from .images import refused as images


def check_supported(
    trainer: Trainer,
    stock_loss: Callable[[], bool] = lambda: True,
    needs: frozenset[str] = frozenset(),
    pruning: PruningArguments | None = None,
) -> None:
    """Refuse combinations under which pruning would train on something else, often silently.

    Args:
        trainer: The trainer.
        stock_loss: Tells whether the loss is that of ``Trainer`` or ``SFTTrainer``, which a
            subclass at most hands on; asked only where our own loss would replace it.
        needs: What the pruners and the token weighter read.
        pruning: The pruning arguments; None takes them from the training arguments.

    Raises:
        UsageError: A combination is not supported; the message says what to do instead.
    """
    arguments: PruningArguments = trainer.args if pruning is None else pruning
    for is_refused, why in (
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
        (
            _is_offloaded(trainer),
            "weights that device_map has put on the CPU or the disk beside another device: load "
            "the model in 4 bits, or shard it with FSDP or DeepSpeed",
        ),
        (
            _loses_gradients(trainer),
            "4-bit weights on a CPU with AVX512-BF16: a pass in eval mode makes bitsandbytes "
            "repack them, and from then on no gradient passes them; use a GPU, or load the model "
            "without load_in_4bit",
        ),
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
            not trainer.model_accepts_loss_kwargs
            and trainer.compute_loss_func is None
            and not leaves_stock_loss(trainer, arguments),
            f"{type(trainer.model).__name__}, which takes no num_items_in_batch: its loss would be "
            "a mean a micro-batch; pass a compute_loss_func",
        ),
        (_is_fsdp1(trainer), "FSDP version 1: set fsdp_version to 2"),
        (
            _rebalances(trainer),
            "train_sampling_strategy='batch_rebalance': micro-batches are balanced after pruning",
        ),
        (
            bool(
                vars(trainer.args).get("enable_jit_checkpoint")
            ),  # only newer transformers have it
            "enable_jit_checkpoint, which saves between a step's decisions and its end: call "
            "train() within qtuning.stop_on_signals(trainer), as `qtuning train` does",
        ),
        *_remembers_by_shared_names(trainer, arguments, needs),
        *_unsaved_pruners(trainer, arguments),
        (
            arguments.probe_samples > 0 and isinstance(trainer.train_dataset, TorchIterableDataset),
            "probe_samples on a stream, from which no fixed set can be drawn: leave it out, or "
            "load the data without streaming",
        ),
        (
            bool(needs & ATTENTION) and _is_sharded(trainer),
            "token pruners that read attention with sharded weights (FSDP, DeepSpeed, tensor "
            "parallelism): choose another token_pruner",
        ),
        (
            bool(needs & (FROM_REFERENCE - {REFERENCE}))
            and arguments.reference_model_name_or_path is None
            and _is_sharded(trainer),
            "a copy of the model before training with sharded weights: name that model as "
            "reference_model_name_or_path",
        ),
        *images(trainer, needs, arguments, is_sharded=_is_sharded(trainer)),
        *(_answers_alone(trainer, arguments) if needs & OF_ALONE else ()),
        *(_own_loss(trainer, stock_loss, *_ONE_PASS) if arguments.one_pass else ()),
        *(_one_pass(trainer) if arguments.one_pass else ()),
        *(_own_loss(trainer, stock_loss, *_WEIGHTS) if WEIGHTS in needs else ()),
        *_weighs_tokens(trainer, stock_loss, arguments),
    ):
        if is_refused:
            raise UsageError(f"pruning does not support {why}")


_ONE_PASS = ("one_pass", "turn one_pass off")
_WEIGHTS = ("a sample pruner that weighs samples", "choose another sample_pruner")


def _own_loss(
    trainer: Trainer, stock_loss: Callable[[], bool], who: str, instead: str
) -> Iterator[tuple[bool, str]]:
    """What is refused where our own per-sample loss replaces the trainer's, and why.

    Args:
        trainer: The trainer.
        stock_loss: Tells whether the trainer's loss is that of ``Trainer`` or ``SFTTrainer``.
        who: What replaces the loss, for messages.
        instead: What to do instead, for messages.
    """
    args = vars(trainer.args)
    yield (
        _is_sharded(trainer),
        f"{who} with sharded weights (FSDP, DeepSpeed, tensor parallelism): {instead}",
    )
    yield (
        bool(trainer.model.config.get_text_config().to_dict().get("output_router_logits")),
        f"{who} with a router auxiliary loss: set router_aux_loss_coef to 0, or {instead}",
    )
    yield (
        trainer.compute_loss_func is not None
        or args["label_smoothing_factor"] > 0
        or args.get("loss_type") not in PLAIN_NLL
        or (not _is_sharded(trainer) and not stock_loss()),
        f"{who} with another loss than the plain NLL (compute_loss, compute_loss_func, "
        f"label_smoothing_factor, loss_type): {instead}",
    )


def _weighs_tokens(
    trainer: Trainer, stock_loss: Callable[[], bool], arguments: PruningArguments
) -> Iterator[tuple[bool, str]]:
    """What is refused where tokens are weighted, by a method or by the user, and why."""
    rows = trainer.train_dataset
    for weighs, who, instead in (
        (weighter_of(arguments) is not None, "token_weight", "set token_weight to none"),
        (
            isinstance(rows, Dataset) and LOSS_WEIGHT in rows.column_names,
            f"the column {LOSS_WEIGHT}",
            "remove the column",
        ),
    ):
        if weighs:
            yield from _own_loss(trainer, stock_loss, who, instead)
            yield (
                any(other_losses(vars(trainer.args))),
                f"{who} with {', '.join(other_losses(vars(trainer.args)))}, another loss: leave it "
                f"out, or {instead}",
            )


def _one_pass(trainer: Trainer) -> Iterator[tuple[bool, str]]:
    """What is refused in one-pass mode, which rescales gradients after the backward, and why."""
    args = vars(trainer.args)
    yield bool(args["ddp_static_graph"]), "one_pass with ddp_static_graph: turn one of them off"
    optimizer = str(args["optim"]).lower()
    yield (
        "lomo" in optimizer or "layerwise" in optimizer,
        f"one_pass with {args['optim']}, which steps within the backward pass: choose another",
    )


def _is_sharded(trainer: Trainer) -> bool:
    kind = trainer.accelerator.distributed_type
    return kind in (DistributedType.FSDP, DistributedType.DEEPSPEED) or trainer.get_tp_size() > 1


def _remembers_by_shared_names(
    trainer: Trainer, arguments: PruningArguments, needs: frozenset[str]
) -> Iterator[tuple[bool, str]]:
    """What is refused where scores are remembered by names that several rows share, and why."""
    rows = trainer.train_dataset
    remembers = remembers_scores(arguments, needs) or needs & FROM_REFERENCE
    if not remembers or not isinstance(rows, Dataset) or SAMPLE_ID not in rows.column_names:
        return
    counts = Counter(sample_names(rows))
    repeated = {name for name, count in counts.items() if count > 1}
    places = [
        place
        for place, names in enumerate(rows[SAMPLE_ID])
        if not repeated.isdisjoint(names if isinstance(names, list) else [names])
    ]
    texts: dict[str, Any] = {}  # a row that stands twice may have one name
    shared = [
        sample[SAMPLE_ID]
        for row in rows.select(places)
        for sample in unpack(row)
        if sample[SAMPLE_ID] in repeated
        and texts.setdefault(sample[SAMPLE_ID], _content(sample)) != _content(sample)
    ]
    yield (
        bool(shared),
        "scores remembered by sample id (score_refresh, scorer_model_name_or_path, infobatch, "
        f"reference models) where rows of other texts have one id, as those of {shared[:1]} do: "
        "make the ids unique, or remove the column",
    )


def _content(sample: Mapping[str, Any]) -> Any:
    """What makes samples of one name the same: their tokens, or with images all that they have."""
    if "input_ids" in sample:
        return sample["input_ids"]
    return {key: value for key, value in sample.items() if key != SAMPLE_ID}


def _unsaved_pruners(trainer: Trainer, arguments: PruningArguments) -> Iterator[tuple[bool, str]]:
    """What is refused where checkpoints hold the arguments, and a method among them, and why."""
    args = vars(trainer.args)
    if arguments is not trainer.args or args["save_strategy"] == "no":
        return
    for name in METHODS:
        pruner = args[name]
        kind = pruner if isinstance(pruner, type | FunctionType) else type(pruner)
        # The names of what is made within a function hold "<locals>" or "<lambda>".
        if "<" in kind.__qualname__:
            yield (
                True,
                f"checkpoints with a {name} that cannot be pickled into training_args.bin: define "
                "it at the top level of a module, name it as module:function, or set save_strategy "
                "to 'no'",
            )


def _splits_sequences(trainer: Trainer) -> bool:
    config = trainer.accelerator.parallelism_config
    return config is not None and (config.cp_enabled or config.sp_enabled)


def _answers_alone(trainer: Trainer, arguments: PruningArguments) -> Iterator[tuple[bool, str]]:
    """What is refused where a sample pruner reads answers without their prompts, and why."""
    yield (
        _has_no_prompts(trainer),
        f"sample_pruner {arguments.sample_pruner} on rows without prompts, whose answers it would "
        "compare with themselves: give prompts and completions, or set assistant_only_loss for "
        "conversations",
    )
    yield (
        arguments.s_ifd_noisy,
        "s_ifd_noisy in training, which makes no noisy copies: leave it out, or use it with "
        "`qtuning prune` on what `qtuning score --alone --noisy_copies 30` wrote",
    )


def _has_no_prompts(trainer: Trainer) -> bool:
    """Whether all tokens of all rows are answers: plain text, or whole conversations."""
    rows = trainer.train_dataset
    if not isinstance(rows, Dataset) or "input_ids" not in rows.column_names:
        return False  # a stream may have them
    if "labels" not in rows.column_names and not isinstance(trainer.data_collator, _SftCollator):
        return False  # another collator may make labels in any way
    return not has_prompts(rows, vars(trainer.args).get("completion_only_loss") is not False)


def _packs_wrapped(trainer: Trainer) -> bool:
    args = vars(trainer.args)
    return bool(args.get("packing")) and args.get("packing_strategy") == "wrapped"


def _learns_prompts(trainer: Trainer) -> bool:
    model = trainer.model
    return is_peft_model(model) and bool(model.active_peft_config.is_prompt_learning)


def _is_offloaded(trainer: Trainer) -> bool:
    """Whether weights are elsewhere until a module's forward, which scoring does not run."""
    return "hf_device_map" in vars(trainer.model) and any(
        weight.is_meta for weight in trainer.model.parameters()
    )


def _loses_gradients(trainer: Trainer) -> bool:
    """Whether bitsandbytes will repack weights in eval mode, see its ``Linear4bit.forward``."""
    return any(
        vars(module).get("support_avx512bf16_for_cpu") and module.weight.device.type == "cpu"
        for module in trainer.model.modules()
    )


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
