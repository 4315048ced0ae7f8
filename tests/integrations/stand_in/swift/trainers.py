import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Seq2SeqTrainer as HfSeq2SeqTrainer
from transformers import Seq2SeqTrainingArguments as HfSeq2SeqTrainingArguments

_RECORDED = json.loads((Path(__file__).parents[2] / "swift" / "signatures.json").read_text())


@dataclass
class Seq2SeqTrainingArguments(HfSeq2SeqTrainingArguments):
    loss_type: str | None = None
    enable_channel_loss: bool = False
    use_flash_ckpt: bool = False


class Seq2SeqTrainer(HfSeq2SeqTrainer):
    def __init__(self, *args, **kwargs):
        self.template = kwargs.pop("template")
        super().__init__(*args, data_collator=self.template.data_collator, **kwargs)
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self, skip_batches=0):
        """Its own loader, by which it skips batches when it resumes."""
        places = torch.arange(len(self.train_dataset)).split(self._train_batch_size)
        return torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=[batch.tolist() for batch in places[skip_batches:]],
            collate_fn=self.data_collator,
        )


class TrainerFactory:
    TRAINER_MAPPING = dict(_RECORDED["trainers"])  # noqa: RUF012 - a plain dict is what it has
    TRAINING_ARGS_MAPPING = dict(_RECORDED["training_arguments"])  # noqa: RUF012

    @staticmethod
    def get_cls(task, mapping):
        module, _, name = mapping[task].rpartition(".")
        return vars(importlib.import_module(module))[name]

    @classmethod
    def get_training_args(cls, options, task="causal_lm"):
        kind = cls.get_cls(task, cls.TRAINING_ARGS_MAPPING)
        known = inspect.signature(kind).parameters
        return kind(**{name: value for name, value in options.items() if name in known})
