"""``qtuning score``: perplexity and entropy of every row of a data set, as Parquet."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments

from ..arguments import PruningArguments
from ..errors import UsageError
from ..examples.tokenising import Tokenising
from ..io.checks import check_output, check_sizes
from ..io.data import load_rows
from ..io.formats import Rows
from ..io.models import check_model
from ..offline.job import ScoreJob, noise_of
from ..offline.score import ENGINES, processes, score_with_bar
from ..precision import use_bf16
from .parser import OneLineParser

_ROWS_A_PROCESS = 4096  # fewer are tokenised before another process has started


@dataclass
class ScoreArguments:
    """Arguments of ``qtuning score``: what to write, and how to score."""

    output: Path | None = field(default=None, metadata={"help": "The Parquet file to write."})
    per_token: bool = field(
        default=False, metadata={"help": "Also write token_nll and token_entropy, lists in nats."}
    )
    float16: bool = field(
        default=False, metadata={"help": "Write those in float16: half the size, 3 digits."}
    )
    alone: bool = field(
        default=False,
        metadata={
            "help": "Also write nll_alone_sum, the summed NLL of each answer without its prompt, "
            "and s_ifd, its selective IFD: a second pass, over the answers. It finds answers that "
            "do not belong to their prompts."
        },
    )
    without_images: bool = field(
        default=False,
        metadata={
            "help": "Also write nll_without_images_sum, the summed NLL of each answer without the "
            "images of its row: a second pass, over the text. `qtuning prune --sample_pruner "
            "image-gain` decides by it."
        },
    )
    entropy_over: str = field(
        default=PruningArguments.entropy_over,
        metadata={
            "help": "all: also write entropy_all, the mean entropy over all positions of a row, "
            "prompt included, by which `qtuning prune --entropy_over all` decides.",
            "choices": ("answer", "all"),
        },
    )
    prune_unit: str = field(
        default=PruningArguments.prune_unit,
        metadata={
            "help": "turn: also write turn_scores, the scores of each trained turn of the "
            "assistant, by which `qtuning prune --prune_unit turn` decides.",
            "choices": ("sample", "turn"),
        },
    )
    noisy_copies: int = field(
        default=0,
        metadata={
            "help": "Also write s_ifd_mean and s_ifd_deviation, of selective IFD over so many "
            "copies with noise on their embeddings (published: 30), each scored with and without "
            "its prompt. Needs alone."
        },
    )
    noise_alpha: float = field(
        default=5.0, metadata={"help": "Size of that noise, as NEFTune's alpha."}
    )
    noise_seed: int = field(default=0, metadata={"help": "Seed of that noise."})
    max_length: int = field(default=1024, metadata={"help": "Tokens at which a row is cut."})
    batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Size of a forward pass, in rows as long as the longest of a part; by default "
            "8, and on a GPU as many times 8 as the memory of a training step on 8 rows holds."
        },
    )
    rows_per_part: int = field(
        default=2048,
        metadata={
            "help": "Rows that are sorted by length and written together. After a kill, finished "
            "parts are kept."
        },
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Autocast the forward pass to bfloat16; by default where the device multiplies "
            "it natively."
        },
    )
    dataset_num_proc: int | None = field(
        default=None,
        metadata={
            "help": "Processes that tokenise; by default one, and with a GPU, which would wait for "
            "it, up to 8."
        },
    )
    assistant_only_loss: bool = field(
        default=False, metadata={"help": "Of a conversation only assistant turns are answers."}
    )
    dataset_text_field: str = field(
        default="text", metadata={"help": "Column of plain text, if the data have that."}
    )
    truncation_mode: str = field(
        default="keep_start",
        metadata={
            "help": "Which end of a row is kept where it is cut.",
            "choices": ("keep_start", "keep_end"),
        },
    )
    completion_only_loss: bool | None = field(
        default=None,
        metadata={
            "help": "Whether only the completion is the answer; by default where there is one."
        },
    )
    eos_token: str | None = field(
        default=None, metadata={"help": "Token that ends a row; by default the tokenizer's."}
    )
    pad_token: str | None = field(
        default=None, metadata={"help": "Token that fills rows up; by default the tokenizer's."}
    )
    chat_template_path: str | None = field(
        default=None,
        metadata={
            "help": "File of a chat template, or a model whose template is used; by default the "
            "tokenizer's."
        },
    )
    engine: str = field(
        default="local",
        metadata={
            "help": "local: this process, or all of `accelerate launch`. ray: Ray Data.",
            "choices": ENGINES,
        },
    )
    ray_workers: int | None = field(
        default=None,
        metadata={"help": "Models that Ray holds at a time; by default one a GPU, or else 2."},
    )


def run(argv: Sequence[str]) -> None:
    """Score a data set; parts that an interrupted call has finished are not scored again.

    Raises:
        UsageError: An argument, the model or the data are unusable, or the output holds scores of
            another origin.
    """
    parser = OneLineParser((ScriptArguments, ScoreArguments, ModelConfig), prog="qtuning score")
    script_args, options, model_args = parser.parse_in_one_line(argv)
    if model_args.model_name_or_path is None:
        raise UsageError("no model: give --model_name_or_path a folder, a Hub id or a GGUF file")
    if options.output is None:
        raise UsageError("no output: give --output a Parquet file")
    output: Path = options.output
    check_output(output)
    sizes = ("max_length", "batch_size", "rows_per_part", "ray_workers", "dataset_num_proc")
    given = {name: vars(options)[name] for name in sizes}
    check_sizes(**{name: size for name, size in given.items() if size is not None})
    noise = noise_of(
        options.noisy_copies, options.noise_alpha, options.noise_seed, alone=options.alone
    )
    check_model(model_args.model_name_or_path)
    data, where = load_rows(script_args, DatasetMixtureConfig(), "train")
    job = ScoreJob(
        model=model_args.model_name_or_path,
        revision=model_args.model_revision,
        trust_remote_code=bool(vars(model_args).get("trust_remote_code", False)),
        where=where,
        per_token=options.per_token,
        float16=options.float16,
        alone=options.alone,
        without_images=options.without_images,
        entropy_over=options.entropy_over,
        noise=noise,
        by_turn=options.prune_unit == "turn",
        batch_size=options.batch_size,
        rows_a_part=options.rows_per_part,
        bf16=use_bf16(options.bf16),
        tokenising=Tokenising.of(options),
        dataset_num_proc=options.dataset_num_proc or _tokenising_processes(data, options.engine),
    )
    score_with_bar(data, output, job, engine=options.engine, workers=options.ray_workers)
    if options.engine == "local":
        # Threads of gloo that live until the interpreter exits abort a process after its work.
        processes().destroy_process_group()


def _tokenising_processes(data: Rows, engine: str) -> int | None:
    """Processes that tokenise rows, where the user names no number; None for this one alone.

    A GPU scores more rows in a second than a process tokenises, and leaves processors free.
    """
    if engine != "local" or not isinstance(data, Dataset) or not torch.cuda.is_available():
        return None
    sharing = processes().num_processes
    n = min((os.cpu_count() or 1) // sharing, len(data) // (sharing * _ROWS_A_PROCESS), 8)
    return n if n > 1 else None
