"""Pruning on the ``get_batch_samples`` hook of any ``transformers.Trainer``."""

import inspect
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import DistributedType
from datasets import Dataset
from torch.utils.data import IterableDataset as TorchIterableDataset
from transformers import Trainer
from trl import SFTTrainer

from ..arguments import PruningArguments, pruning_fields
from ..errors import UsageError
from ..examples.adapter import has_image_data, labels_of
from ..examples.bins import as_rows
from ..examples.example import SAMPLE_ID, NothingHere, NothingToTrain, RawBatch
from ..examples.names import with_sample_ids
from ..examples.pictures import as_stored, undecoded
from ..examples.prepare import check_answers
from ..io.weights import LOSS_WEIGHT
from ..pruners.pair import NO_PRUNING, Pruners
from ..ranks import Ranks
from ..run.data_mark import data_mark
from ..run.epoch_order import EpochOrder
from ..run.peers import lost_peers_named
from ..run.probe import Probe, probe_metrics
from ..run.record import RunRecord
from ..run.saving import choose_together
from ..signals.steady_attention import steady_attention
from ..step.moment import Moment
from ..step.one_pass import OnePassStep
from ..step.stopwatch import Stopwatch
from ..step.two_pass import StepResult
from ..weighters.registry import weighter_of
from .assemble import Loaded, assemble
from .callback import EndCallback, RunCallback
from .cards import CardMixin
from .checkpoints import CheckpointMixin
from .idle import marked
from .images import divide_by_items, drops
from .loading import LoadingMixin
from .losses import LossMixin
from .packing import PackingMixin
from .plane_picture import log_plane
from .router_loss import is_in_model_loss
from .start import cost_of_token, find_pruning, first_repeated, print_start, weighs_before_forward
from .support import check_supported

logger = get_logger(__name__)

_OF_TRAINING = frozenset({"loss", "total_flos"})
"""Of these names, each log of training has one, and no log of an evaluation."""


class PruningMixin(LossMixin, LoadingMixin, PackingMixin, CheckpointMixin, CardMixin):
    """Prunes the candidates of every optimizer step; the first base of a ``Trainer`` subclass.

    ``get_batch_samples`` sees all micro-batches of a step before the loss is normalised. It must
    return exactly as many micro-batches as the loop requests: with fewer, or with more of them
    pulled from the iterator, the stock loop silently loses optimizer steps.
    """

    pruning: PruningArguments | None = None
    """The pruning arguments, where the training arguments do not carry them."""

    train_dataset: Any

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
            stored = undecoded(rows) if isinstance(self, SFTTrainer) else rows
            parameters["train_dataset"] = with_sample_ids(stored)
        arguments = parameters.get("args")
        if isinstance(rows, TorchIterableDataset) and arguments is not None:
            # accelerate would dispatch a stream from the first rank by slicing batches of
            # tensors, which RawBatch is not. TRL turns dispatching off for streams as well.
            config = arguments.accelerator_config
            config.dispatch_batches = config.dispatch_batches or False
        super().__init__(*bound.args, **bound.kwargs)
        self._pruning_args = find_pruning(self, self.pruning)
        self._pruners = Pruners.of(self._pruning_args)
        weighter = weighter_of(self._pruning_args)
        needs = self._pruners.needs | (frozenset() if weighter is None else weighter.needs)
        divide_by_items(self, self._pruners.prune or weighter is not None)
        check_supported(self, self._has_stock_loss, needs, self._pruning_args)
        check_answers(self, self.train_dataset, rows)
        evaluated = parameters.get("eval_dataset")
        if not isinstance(evaluated, dict):
            evaluated = {"": evaluated}
        tokenised = self.eval_dataset if isinstance(self.eval_dataset, dict) else None
        for name, before in evaluated.items():
            after = self.eval_dataset if tokenised is None else tokenised[name]
            check_answers(self, after, before, f"evaluation {name}".strip() + " ")
        if isinstance(self.train_dataset, Dataset):  # TRL may have dropped the column
            self.train_dataset = with_sample_ids(self.train_dataset)
        if has_image_data(self):
            self.train_dataset = as_stored(self.train_dataset)
        self._loaded = Loaded.of(self, self._pruning_args, needs)
        self._record = RunRecord(
            Path(vars(self.args)["output_dir"]), pruning_fields(self._pruning_args)
        )
        self._resumed_from: Path | None = None
        self._one_pass: OnePassStep | None = None
        self._router_in_model = is_in_model_loss(self)
        self._passes = self._router_weight = 1.0
        self._probe: Probe | None = None
        self._is_pruned = False
        self.add_callback(RunCallback(self))
        self.callback_handler.callbacks.insert(0, EndCallback(self))
        self._epoch_order = EpochOrder(self.args.process_index)
        self.add_callback(self._epoch_order)

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
                lists.append(as_rows(next(epoch_iterator).examples))
            except StopIteration:
                break
        if isinstance(self.train_dataset, TorchIterableDataset):
            self._ranks.check_even(len(lists), self.state.global_step + 1)
        if not lists:
            return [], None
        pruners = self._pruners_now()
        place = {
            "step": self.state.global_step + 1,
            "first_repeated": first_repeated(self, self._ranks, len(lists[-1])),
            "progress": self._progress,
        }
        self._weighted_loss.begin(Moment(place["step"], self.args.seed, place["progress"]))
        collate = self._labels.collate
        step: OnePassStep | StepResult
        if self._pruning_args.one_pass and pruners.score:
            step = self._one_pass = OnePassStep(
                self._step_pruner,
                pruners,
                lists,
                autocast=self.accelerator.autocast,
                weighted_loss=self._weighted_loss,
                **place,
            )
        else:
            self._one_pass = None
            step = self._step_pruner(self.model, self.model_wrapped, lists, pruners, **place)
            labels = self._labels
            collate = labels.collate_to_train if step.pruned else labels.collate_as_is
        self._is_pruned = isinstance(step, OnePassStep) or step.pruned
        started = time.perf_counter()
        batches = [collate(examples) for examples in step.micro_batches]
        n_items = self._get_num_items_in_batch(batches, device)
        if isinstance(n_items, torch.Tensor):
            n_items = n_items.clamp(min=1)  # a step with only bad samples must not divide by zero
        step.counts.collation_seconds = time.perf_counter() - started
        self._training_watch = Stopwatch(self.args.device)
        if isinstance(step, StepResult):
            self._record.add(step, **self._when)
            if any(LOSS_WEIGHT in batch for batch in batches):
                self._count_tokens(step.counts.trained_tokens)
            # DeepSpeed counts the passes of a step, so there no micro-batch may be skipped.
            skips = self.accelerator.distributed_type != DistributedType.DEEPSPEED
            batches = marked(batches, step.skipped, step.idle, skips=skips)
            self._passes = max(1, step.passes) / self._ranks.size
        else:
            self._passes = len(batches)
        self._router_weight = len(batches) / self._passes
        return batches, n_items

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run forward and backward of a micro-batch, unless it is empty on all ranks.

        In one-pass mode the last micro-batch of a step rescales the step's gradients.
        """
        if isinstance(inputs, NothingToTrain):
            return torch.zeros((), device=self.args.device)
        # TRL divides the auxiliary loss of routers by the number of passes of a rank.
        is_idle = isinstance(inputs, NothingHere)
        self.current_gradient_accumulation_steps = math.inf if is_idle else self._passes
        with steady_attention(self.args.device.type) if self._is_pruned else nullcontext():
            loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        if self._one_pass is None or not self._one_pass.done:
            return loss
        step, self._one_pass = self._one_pass, None
        result, loss = step.finish(self.model)
        self._training_watch.leave_out(
            result.counts.scoring_seconds + result.counts.selection_seconds
        )
        self._record.add(result, **self._when)
        self._log_entropy(step.entropy)
        self._count_tokens(result.counts.trained_tokens)
        return loss

    @property
    def _when(self) -> dict[str, int]:
        """The step about to be taken, counted from 1, and the epoch of its data, from 0."""
        return {"step": self.state.global_step + 1, "epoch": int(self.state.epoch or 0)}

    @property
    def _progress(self) -> float:
        """Share of the training steps done."""
        return float(self.state.global_step / max(1, self.state.max_steps))

    def _pruners_now(self) -> Pruners:
        """The pruners of the step about to be taken."""
        if self._progress < self._pruning_args.prune_start:
            return self._pruners.before
        return self._pruners if self._progress < self._pruning_args.prune_end else NO_PRUNING

    def get_total_train_batch_size(self, args: Any) -> int:
        """Candidates of an optimizer step, which the speed at the end counts."""
        size: int = super().get_total_train_batch_size(args)
        return size * self._pruning_args.pool_factor

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the pruning metrics to what the trainer logs of training."""
        if not _OF_TRAINING.isdisjoint(logs):
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
        collator = self.sample_collator()
        self._labels = labels_of(
            self, collator, drops=drops(self._pruning_args), keeps=self._pruners.prune
        )
        assembled = assemble(
            self, self._pruning_args, self._loaded, self._labels, self._ranks, self._pruners
        )
        self._step_pruner, self._weighted_loss = assembled.step_pruner, assembled.weighted_loss
        self._set_signature_columns_if_needed()
        columns = {*self._signature_columns, SAMPLE_ID} if self.args.remove_unused_columns else None
        scorer = assembled.own_scorer
        self._probe = Probe.of(self, self._pruning_args, self._labels, scorer, self._ranks, columns)
        self._record.begin(
            self.state.global_step,
            self._resumed_from,
            is_main=self._ranks.is_main,
            stores=assembled.stores,
            probes=self._probe is not None,
            data=data_mark(self.train_dataset),
            weighs_tokens=weighs_before_forward(self.train_dataset, self._pruning_args),
        )
        self._pass_limit = assembled.limit
        self._pass_limit.resume(self._record.pass_limits, self._ranks.rank)
        if self._resumed_from is not None:
            self._epoch_order.load(self._resumed_from)
        if self._ranks.is_main:
            print_start(
                self,
                self._pruning_args,
                self._pruners,
                self._loaded,
                self._ranks,
                assembled.share_anew,
            )
        self._probed = self.state.global_step
        if self._probed == 0:  # a resumed run has this visit on record
            self._look_at_probe()

    @property
    def token_cost(self) -> float:
        """Cost of training on a token, in forward passes."""
        return cost_of_token(self)

    def _trained(self) -> None:
        """Stop the clock of training, and look at the step's weights before the optimizer does."""
        self._training_watch.stop()
        self._note_weights()

    def _step_ended(self) -> None:
        self._record.counts.training_seconds += self._training_watch.seconds()
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

    def _ending(self) -> None:
        with self._record.paused():
            log_plane(self, self._record)

    def _ended(self) -> None:
        # A run that was stopped early has no visit after its last step. Trackers may be closed, so
        # its metrics are not logged.
        if self._probed != self.state.global_step and not self.args.load_best_model_at_end:
            self._look_at_probe(log=False)
        self._record.end(self._pruning_args, self.args)
