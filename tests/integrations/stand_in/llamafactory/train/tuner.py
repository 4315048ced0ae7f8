from ..hparams import get_train_args
from .sft.workflow import run_sft


def run_exp(args=None, callbacks=None):
    model_args, data_args, training_args, finetuning_args, generating_args = get_train_args(args)
    run_sft(model_args, data_args, training_args, finetuning_args, generating_args, callbacks)
