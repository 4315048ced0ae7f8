import torch
from torch.utils.data import BatchSampler, DataLoader
from transformers import Trainer


class Bins(BatchSampler):
    """As many bins of two rows a batch as it holds."""

    batch_max_len = 128

    def __iter__(self):
        for batch in super().__iter__():
            yield [batch[place : place + 2] for place in range(0, len(batch), 2)]


class OfBins(torch.utils.data.Dataset):
    """Axolotl patches the loader's fetcher for this; the stand-in's rows do without."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, numbers):
        return [self.rows[number] for number in numbers]


class AxolotlTrainer(Trainer):
    packs = False
    axolotl_cfg = None

    def __init__(self, *args, **kwargs):
        self._signature_columns = None
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        self._signature_columns = list(set(self._signature_columns) - {None})
        self._signature_columns.remove("attention_mask")

    def _create_multipack_sampler(self, base_sampler, dataset):
        sampler = Bins(base_sampler, 2 * self.args.per_device_train_batch_size, drop_last=True)
        sampler.batch_size = self.args.per_device_train_batch_size
        return sampler

    def get_train_dataloader(self):
        if not self.packs:
            return super().get_train_dataloader()
        sampler = self._create_multipack_sampler(range(len(self.train_dataset)), None)
        sampler.batch_size *= 2
        rows = [dict(row) for row in self.train_dataset]
        return DataLoader(OfBins(rows), batch_sampler=sampler, collate_fn=self.data_collator)
