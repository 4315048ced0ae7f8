"""Pruning on the ``get_batch_samples`` hook of any ``transformers.Trainer``."""

import inspect
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import DistributedType
from datasets import Dataset
from torch.utils.data import IterableDataset as TorchIterableDataset
from transformers import Trainer
from transformers.trainer_pt_utils import get_model_param_count
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTTrainer

from ..arguments import PruningArguments, pruning_fields
from ..core.ratio import share
from ..errors import UsageError
from ..examples.example import LOSS_WEIGHT, SAMPLE_ID, NothingToTrain, RawBatch
from ..examples.labels import Labels
from ..examples.names import with_sample_ids
from ..examples.prepare import check_answers
from ..precision import precision_line
from ..pruners.pair import NO_PRUNING, Pruners
from ..ranks import Ranks
from ..run.budget import scoring_cost, training_cost
from ..run.messages import start_lines, tell
from ..run.peers import lost_peers_named
from ..run.probe import Probe, probe_metrics
from ..run.record import RunRecord
from ..run.saving import choose_together, whole_checkpoint
from ..step.one_pass import OnePassStep
from ..step.two_pass import StepResult
from .assemble import Loaded, assemble
from .callback import RunCallback
from .support import check_supported
from .weighted_loss import weighted_nll

logger = get_logger(__name__)

if TYPE_CHECKING:  # super() is a Trainer, since the mixin is combined with a Trainer class
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class PruningMixin(_Trainer):
    """Prunes the candidates of every optimizer step; the first base of a ``Trainer`` subclass.

    ``get_batch_samples`` sees all micro-batches of a step before the loss is normalised. It must
    return exactly as many micro-batches as the loop requests: with fewer, or with more of them
    pulled from the iterator, the stock loop silently loses optimizer steps.
    """

    pruning: PruningArguments | None = None
    """The pruning arguments, where the training arguments do not carry them."""

    train_dataset: Any
    data_collator: Any
    _train_batch_size: int
    _signature_columns: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Construct the trainer; the arguments are those of the trainer class.

        Raises:
            UsageError: The combination is not supported, there are no pruning arguments, or no
                sample has answer tokens.
        """
        bound = inspect.signature(super().__init__).bind(*args, **kwargs)
        parameters = bound.arguments
        if "train_dataset" not in parameters:  # a subclass passes it on in its **kwargs
            parameters = parameters.get("kwargs", {})
        rows = parameters.get("train_dataset")
        if rows is not None:
            parameters["train_dataset"] = with_sample_ids(rows)
        arguments = parameters.get("args")
        if isinstance(rows, TorchIterableDataset) and arguments is not None:
            # accelerate would dispatch a stream from the first rank by slicing batches of
            # tensors, which RawBatch is not. TRL turns dispatching off for streams as well.
            config = arguments.accelerator_config
            config.dispatch_batches = config.dispatch_batches or False
        super().__init__(*bound.args, **bound.kwargs)
        self._pruning_args = self._find_pruning()
        stock_loss = super().compute_loss.__func__ in (
            Trainer.compute_loss,
            SFTTrainer.compute_loss,
        )
        self._pruners = Pruners.of(self._pruning_args)
        check_supported(self, stock_loss, self._pruners.needs, self._pruning_args)
        check_answers(self, rows)
        if isinstance(self.train_dataset, Dataset):  # packing makes new rows
            self.train_dataset = with_sample_ids(self.train_dataset)
        self._loaded = Loaded.of(self, self._pruning_args, self._pruners.needs)
        self._record = RunRecord(Path(vars(self.args)["output_dir"]))
        self._resumed_from: Path | None = None
        self._one_pass: OnePassStep | None = None
        self._probe: Probe | None = None
        self.add_callback(RunCallback(self))

    def _find_pruning(self) -> PruningArguments:
        """The pruning arguments of the class, else those among the training arguments.

        Raises:
            UsageError: No pruning arguments are given, or both places have them.
        """
        inside = isinstance(self.args, PruningArguments)
        if self.pruning is not None and inside:
            raise UsageError(
                "pruning arguments stand in two places, with_pruning(..., pruning=...) and "
                f"{type(self.args).__name__}: leave one of them out"
            )
        if self.pruning is not None:
            return self.pruning
        if not inside:
            raise UsageError(
                f"{type(self).__name__} needs pruning arguments: use QTuningConfig, give "
                "with_pruning a pruning=PruningArguments(...), or make a dataclass of your own "
                f"with the bases (PruningArguments, {type(self.args).__name__})"
            )
        pruning: PruningArguments = self.args
        return pruning

    def get_train_dataloader(self) -> Any:
        """The trainer class' loader, with raw examples in batches ``pool_factor`` times larger."""
        self._set_signature_columns_if_needed()
        attributes: Any = (self.data_collator, self._train_batch_size, self._signature_columns)
        self.data_collator = RawBatch
        self._train_batch_size *= self._pruning_args.pool_factor
        self._signature_columns = [*attributes[2], SAMPLE_ID]
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator, self._train_batch_size, self._signature_columns = attributes

    def get_batch_samples(
        self, epoch_iterator: Iterator[RawBatch], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], torch.Tensor | int | None]:
        """Fetch and prune the candidates of a step, and return as many micro-batches.

        Returns:
            The collated micro-batches, and the number of answer tokens to divide the loss by; no
            micro-batches and None if the iterator is exhausted.
        """
        lists = []
        for _ in range(num_batches):
            try:
                lists.append(next(epoch_iterator).examples)
            except StopIteration:
                break
        if isinstance(self.train_dataset, TorchIterableDataset):
            self._ranks.check_even(len(lists), self.state.global_step + 1)
        if not lists:
            return [], None
        pruners = self._pruners if self._pruning_now() else NO_PRUNING
        place = {
            "step": self.state.global_step + 1,
            "first_repeated": self._first_repeated(len(lists[-1])),
        }
        collate = self._labels.collate
        step: OnePassStep | StepResult
        if self._pruning_args.one_pass and pruners.score:
            step = self._one_pass = OnePassStep(self._step_pruner, pruners, lists, **place)
        else:
            self._one_pass = None
            step = self._step_pruner(
                self.model, self.model_wrapped, lists, pruners, progress=self._progress, **place
            )
            collate = self._labels.collate if step.pruned else self._labels.collate_as_is
        started = time.perf_counter()
        batches = [collate(examples) for examples in step.micro_batches]
        n_items = self._get_num_items_in_batch(batches, device)
        if isinstance(n_items, torch.Tensor):
            n_items = n_items.clamp(min=1)  # a step with only bad samples must not divide by zero
        self._training_from = time.perf_counter()
        step.counts.collation_seconds = self._training_from - started
        if isinstance(step, StepResult):
            self._record.add(step, **self._when)
            if any(LOSS_WEIGHT in batch for batch in batches):
                self._count_tokens(step.counts.trained_tokens)
            # DeepSpeed counts the passes of a step, so there no micro-batch may be skipped.
            if self.accelerator.distributed_type != DistributedType.DEEPSPEED:
                batches[: step.skipped] = map(NothingToTrain, batches[: step.skipped])
        return batches, n_items

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a micro-batch.

        It is the trainer class' own loss, a weighted loss where the sample pruner weighs samples,
        and in one-pass mode the loss of the kept answer tokens.
        """
        if self._one_pass is not None and self.model.training:
            return self._one_pass.loss(self.model, model, inputs, num_items_in_batch)
        weights = inputs.pop(LOSS_WEIGHT, None)
        if weights is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.accelerator.autocast():  # the head in the precision of the model
            nll = weighted_nll(self.model, model, inputs, weights)
        return nll.to(self.args.device) * self._ranks.size / num_items_in_batch

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run forward and backward of a micro-batch, unless it is empty on all ranks.

        In one-pass mode the last micro-batch of a step rescales the step's gradients.
        """
        if isinstance(inputs, NothingToTrain):
            return torch.zeros((), device=self.args.device)
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        if self._one_pass is None or not self._one_pass.done:
            return loss
        step, self._one_pass = self._one_pass, None
        result, loss = step.finish(self.model)
        self._training_from += result.counts.scoring_seconds + result.counts.selection_seconds
        self._record.add(result, **self._when)
        if isinstance(self, SFTTrainer):  # token accuracy is left out: it costs a pass
            self._metrics["train"]["entropy"].append(step.entropy)
        self._count_tokens(result.counts.trained_tokens)
        return loss

    def _count_tokens(self, n: int) -> None:
        """Count trained tokens as SFTTrainer's own loss does, for steps that do not call it."""
        if isinstance(self, SFTTrainer):
            self._total_train_tokens += n
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]

    @property
    def _when(self) -> dict[str, int]:
        """The step about to be taken, counted from 1, and the epoch of its data, from 0."""
        return {"step": self.state.global_step + 1, "epoch": int(self.state.epoch or 0)}

    @property
    def _progress(self) -> float:
        """Share of the training steps done."""
        return float(self.state.global_step / max(1, self.state.max_steps))

    def _pruning_now(self) -> bool:
        """Whether the step about to be taken is between ``prune_start`` and ``prune_end``."""
        return bool(self._pruning_args.prune_start <= self._progress < self._pruning_args.prune_end)

    def _first_repeated(self, n_rows: int) -> int:
        """Place in the last micro-batch from which on rows repeat the epoch's first rows.

        accelerate repeats rows at the end of an epoch, so that all ranks have as many.
        """
        loader = self.callback_handler.train_dataloader
        ends = self.accelerator.gradient_state.end_of_dataloader
        if self._ranks.size == 1 or not ends or self.args.dataloader_drop_last:
            return sys.maxsize
        try:
            rest = len(loader.dataset) % loader.total_batch_size
        except TypeError:  # a stream has no length
            return sys.maxsize
        return max(0, rest - self._ranks.rank * n_rows) if rest else sys.maxsize

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the pruning metrics to what the trainer logs."""
        if not any(name.startswith("eval_") for name in logs):
            logs.update(self._record.window.take())
        super().log(logs, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train as the trainer class does; the ledger is complete whatever ends the training.

        Args:
            resume_from_checkpoint: A checkpoint's folder; or True for the last whole checkpoint,
                for which later, damaged ones are renamed.
            **kwargs: Other arguments of the trainer class' ``train``.

        Raises:
            UsageError: There is no whole checkpoint to resume from, or the disk is full.
            PeerLostError: Another rank died.
        """
        self._ranks = Ranks(self.accelerator, self.get_tp_size())
        with lost_peers_named():
            folder = Path(vars(self.args)["output_dir"])
            folder_of_checkpoint = choose_together(resume_from_checkpoint, folder, self._ranks)
        self._resumed_from = folder_of_checkpoint
        checkpoint = str(folder_of_checkpoint) if folder_of_checkpoint else None
        try:
            with self._record, lost_peers_named():
                return super().train(resume_from_checkpoint=checkpoint, **kwargs)
        except UnpicklingError as error:
            raise UsageError(
                f"checkpoint {checkpoint} holds pickled objects that are not weights, which are "
                "not loaded: resume from one that you have written"
            ) from error

    def _begin(self) -> None:
        """Build the step pruner and begin the record, from a checkpoint if the run resumes."""
        self._labels = Labels(self.data_collator)
        assembled = assemble(
            self, self._pruning_args, self._loaded, self._labels, self._ranks, self._pruners
        )
        self._step_pruner = assembled.step_pruner
        self._set_signature_columns_if_needed()
        columns = {*self._signature_columns, SAMPLE_ID} if self.args.remove_unused_columns else None
        self._probe = Probe.of(
            self,
            self._pruning_args,
            self._labels,
            assembled.step_pruner.scorer,
            self._ranks,
            columns,
        )
        self._record.begin(
            self.state.global_step,
            self._resumed_from,
            is_main=self._ranks.is_main,
            stores=assembled.stores,
            settings=pruning_fields(self._pruning_args),
            probes=self._probe is not None,
        )
        if self._ranks.is_main:
            self._print_start(assembled.share_anew)
        self._probed = self.state.global_step
        if self._probed == 0:  # a resumed run has this visit on record
            self._look_at_probe()

    @property
    def token_cost(self) -> float:
        """Cost of training on a token, in forward passes."""
        trained = share(
            get_model_param_count(self.model, trainable_only=True),
            get_model_param_count(self.model),
        )
        return training_cost(trained, self.args.gradient_checkpointing)

    def _print_start(self, share_anew: float) -> None:
        """Print what will be pruned, the expected speed-up, and the precision."""
        args, pruning = self.args, self._pruning_args
        micro = args.per_device_train_batch_size * pruning.pool_factor
        candidates = micro * args.gradient_accumulation_steps * self._ranks.size
        pool = candidates if pruning.pool_scope == "step" else micro
        has_initial_scores = bool(self._loaded.initial_scores)
        scoring = scoring_cost(share_anew, self.state.num_train_epochs, has_initial_scores)
        if self._loaded.scorer is not None:
            sizes = map(get_model_param_count, (self._loaded.scorer, self.model))
            scoring *= share(*sizes)
        lines = start_lines(pruning, self._pruners, candidates, pool, self.token_cost, scoring)
        precision = precision_line(args.device, bf16=args.bf16, fp16=args.fp16)
        for line in [*lines, *([precision] if precision else [])]:
            tell(args, line)

    def _trained(self) -> None:
        """Stop the clock of training, before the optimizer's step."""
        if self.args.device.type == "cuda":  # once a step, so that all kernels are timed
            torch.cuda.synchronize(self.args.device)
        self._record.counts.training_seconds += time.perf_counter() - self._training_from

    def _step_ended(self) -> None:
        step, last = self.state.global_step, self.state.max_steps
        if self._probe is not None and self._probe.is_due(step, last):
            self._look_at_probe()

    def _look_at_probe(self, log: bool = True) -> None:
        """Score the probe set, record the rows and log their means; every rank must call it."""
        if self._probe is None:
            return
        self._probed = self.state.global_step
        where = {"step": self._probed, "epoch": float(self.state.epoch or 0.0)}
        rows = self._probe(self.model, self.model_wrapped, **where)
        self._record.add_probe(rows)
        metrics = probe_metrics(rows)
        if metrics and log:
            due = self.control.should_log  # log() resets it
            # Our own log() and SFTTrainer's would empty the windows of the step metrics.
            Trainer.log(self, metrics)
            self.control.should_log = due

    def _ended(self) -> None:
        # A run that was stopped early has no visit after its last step. Trackers may be closed, so
        # its metrics are not logged.
        if self._probed != self.state.global_step and not self.args.load_best_model_at_end:
            self._look_at_probe(log=False)
        self._record.end(self._pruning_args, self.args)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint with all that pruning needs to resume from it."""
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder = Path(vars(self.args)["output_dir"]) / name
        with whole_checkpoint(
            folder, self._ranks, self.args, lambda: self.state.best_model_checkpoint
        ):
            self._record.save(folder)
            super()._save_checkpoint(*args, **kwargs)
