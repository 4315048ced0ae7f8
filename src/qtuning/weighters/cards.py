"""The page of the token weighters: a guide, and their method cards."""

from ..pruners.cards import sections, table
from .registry import TOKEN_WEIGHTERS

_INTRO = """# Token weights

Pruning gives a token weight 0 or 1. `token_weight` gives it any weight: a third axis beside
`sample_pruner` and `token_pruner`, behind any pair of them, `full` and `none` among them. The loss
is the sum over the kept answer tokens of weight times NLL, divided as each method publishes it, \
over
all ranks and however many steps gradients are accumulated.

```python
from datasets import load_dataset
from qtuning import QTuningConfig, QTuningTrainer

trainer = QTuningTrainer(
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    args=QTuningConfig("out", token_weight="eaft", sample_pruner="random", token_pruner="none"),
    train_dataset=load_dataset("trl-lib/Capybara", split="train"),
)
trainer.train()
```

```bash
qtuning train --model_name_or_path HuggingFaceTB/SmolLM2-135M-Instruct --dataset_name data.jsonl \\
  --output_dir out --sample_pruner full --token_pruner none --token_weight dft
```

## What the study found

On SmolLM2-135M, four settings, three seeds, alone and behind pruners, no weight was better than
none: `eaft` was level with it; `power` (q = 0.5), `prift`, `dft` and `stm` learnt less, in this
order, and none forgot less
([Study](study.md#token-weights-and-what-they-make-a-model-forget)). The papers train larger models
on more rows: compare on yours, by scores as well as by NLL, which these losses do not minimise.

## What it costs

Weights that read the training forward (`dft`, `eaft`, `power`) cost no pass: where no pruner reads
scores, nothing is scored. Logits exist for some hundred tokens at a time and are recomputed in the
backward pass, on the CPU and on CUDA. Weights that read the model before training (`prift`, `stm`)
need a forward of each kept sample, once in a run; a checkpoint holds what it gave. With adapters
that model is the trained one without them, else a copy is kept, which needs its memory.

## What it works with

- All of pruning: packed and padding-free rows, `token_mode` drop, `one_pass` (without `prift` and
  `stm`), several processes, resumed runs.
- `prune_start` and `prune_end` do not concern weights, which hold from the first step to the last.
- The loss of an evaluation stays the plain NLL, so that runs can be compared.
- The mean weight of each step is logged as `pruning/token_weight`, and TRL's `entropy` is that \
of the
  training forward. TRL's `mean_token_accuracy` is left out.
- Refused: another loss at the same time (`loss_type`, `label_smoothing_factor`, \
`use_liger_kernel`, a
  `compute_loss_func`, a router loss), and sharded weights (FSDP, DeepSpeed). Weights that are
  negative or not finite, or that are 0 for all tokens of a step, end the run in one line: a \
threshold
  that leaves nothing of a small step needs a milder value or a larger step.

## Weights of your own rows

A column `loss_weight` of tokenised rows has a factor for the NLL of each token, as long as
`input_ids`, or one number for the row. A token of weight 0 is no answer token. These factors are
multiplied with the weights of the method and those of a sample pruner that weighs samples
(`infobatch`), and scaled to a mean of 1 over the step: a row of weight 2 counts twice as much as \
one
of weight 1, and the step as much as ever.

```python
from datasets import Dataset
from transformers import AutoTokenizer
from qtuning import QTuningConfig, QTuningTrainer

tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
rows = []
for question, answer, weight in (("2 + 2 =", " 4", 1.0), ("2 + 3 =", " 5, I think", 0.25)):
    prompt, completion = tokenizer(question)["input_ids"], tokenizer(answer)["input_ids"]
    rows.append(
        {
            "input_ids": prompt + completion,
            "labels": [-100] * len(prompt) + completion,
            "loss_weight": [weight] * len(prompt + completion),
        }
    )
trainer = QTuningTrainer(
    model="HuggingFaceTB/SmolLM2-135M-Instruct",
    args=QTuningConfig("out", sample_pruner="full", token_pruner="none"),
    train_dataset=Dataset.from_list(rows),
)
trainer.train()
```

## A weighter of your own

A weighter is a function of kept answer tokens and the arguments, given in Python as it is or as
`"package.module:name"`. It returns a weight for each token, `(T,)`:

```python
from qtuning import QTuningConfig


def not_too_hard(tokens, args):
    return (tokens.nll < 5.0).float() * tokens.entropy.clamp(max=1.0)


not_too_hard.needs = {"nll", "entropy"}
arguments = QTuningConfig("out", token_weight=not_too_hard)
```

| attribute of `tokens` | what | by the name in `needs` |
|---|---|---|
| `nll` | NLL in nats, `(T,)` | `nll` |
| `entropy` | entropy of the prediction in nats, `(T,)` | `entropy` |
| `top` | the 20 highest logits, highest first, `(T, 20)` | `top` |
| `base_nll` | NLL under the model before training, or `reference_model_name_or_path`, `(T,)` | \
`base` |
| `base_tail` | probability which that model gives to all tokens no more probable than this one, \
`(T,)` | `base_tail` |
| `token_ids` | the tokens, `(T,)` int64 | always |
| `lengths`, `sample_ids` | number of kept answer tokens of each sample, and its id; tokens stand \
sample after sample | always |
| `step`, `progress` | the optimizer step, counted from 1; share of the training steps done | \
always |

Nothing has a gradient. Without `needs`, `nll` and `entropy` are given. A weighter that names \
none of
`nll`, `entropy` and `top` is called before the forward. It may return `Weighed(weights, \
masks=True)`:
the loss is then divided by the sum of the weights. One that reads the forward may return
`Weighed(weights, losses)`: the gradient is that of the weighted NLL, and `losses` is what is \
logged.

## Methods

Made of the docstrings by `python docs/generate.py`. p is the probability of the actual token.
"""


def page() -> str:
    """The page of token weights, in Markdown."""
    parts = [_INTRO, *table(TOKEN_WEIGHTERS, "weight"), "## Method cards\n"]
    return "\n".join([*parts, *sections(TOKEN_WEIGHTERS)])
