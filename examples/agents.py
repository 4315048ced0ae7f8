"""Turns of agents as units: which steps of tool calls are bad, and training without them.

    python examples/agents.py
    python examples/agents.py --seeds 1 --steps 40

Makes conversations in which an assistant calls tools and answers, one in five steps of them wrong,
and a tiny model that knows nothing; no download, a few minutes on a laptop's CPU. The model learns
the format from all of it, then scores the turns: those of high perplexity are called bad, and the
truth says how many of them are. Then it trains on by turns, by whole conversations, and on
everything, at as many answer tokens, and is tested on conversations without mistakes.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

import qtuning
from qtuning import QTuningConfig, QTuningTrainer
from qtuning.core.ratio import keep_count

TOOLS = ("weather", "time", "price", "news")
CITIES = [
    "Oslo",
    "Rome",
    "Lima",
    "Bonn",
    "Cairo",
    "Delhi",
    "Dakar",
    "Quito",
    "Paris",
    "Tokyo",
    "Seoul",
    "Hanoi",
]
RESULTS = [
    "red",
    "blue",
    "green",
    "high",
    "low",
    "fast",
    "slow",
    "warm",
    "cold",
    "dry",
    "wet",
    "calm",
]
WORDS = ["what", "is", "the", "in", "?", ".", "call", "it", *TOOLS, *CITIES, *RESULTS]
SPECIAL = ["<pad>", "<end>", "<user>", "<assistant>", "<tool>"]
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<assistant> {% generation %}"
    "{% for c in m['tool_calls'] or [] %}call {{ c['function']['name'] }} "
    "{{ c['function']['arguments']['city'] }} {% endfor %}"
    "{% if m['content'] %}{{ m['content'] }} {% endif %}<end>{% endgeneration %} "
    "{% else %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endif %}{% endfor %}"
)
BAD = 0.2
"""Share of the assistant's turns that are wrong."""
BATCH = 16
"""Conversations of a step."""
ANSWER_TOKENS = 3 * (4 + 5)
"""Of a conversation: four of each call, five of each answer."""
ARMS: dict[str, dict[str, Any]] = {
    "by turn": {"prune_unit": "turn", "sample_ratio": 1 - BAD},
    "by conversation": {"prune_unit": "sample", "sample_ratio": 1 - BAD},
    "everything": {"prune_unit": "sample", "sample_ratio": 1.0},
}


class Result(NamedTuple):
    """What a run was trained on, and how good it is on conversations without mistakes."""

    tokens: int
    bad_share: float
    nll: float
    right: float


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; without ``argv`` with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--conversations", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--warm_up", type=int, default=200, help="steps on everything, at first")
    parser.add_argument("--steps", type=int, default=60, help="steps of the run by turn")
    options = parser.parse_args(argv)
    disable_progress_bar()
    started, console = time.perf_counter(), Console()
    results: dict[str, list[Result]] = {arm: [] for arm in ARMS}
    for seed in range(options.seeds):
        rows = conversations(options.conversations, seed, BAD)
        test = conversations(100, seed + 1000, 0.0)
        with tempfile.TemporaryDirectory() as scratch:
            start = Path(scratch) / "start"
            everything = {"sample_ratio": 1.0, "token_ratio": 1.0}
            warm = train(new_model(seed), rows, options.warm_up, seed, start, everything)
            warm.save_model()
            if seed == 0:
                show_found(console, rows, start)
            tokens = 0
            for arm, settings in ARMS.items():
                model = LlamaForCausalLM.from_pretrained(start)
                own = {"sample_pruner": "ppl-low", "token_pruner": "none", **settings}
                # The first arm says how many answer tokens the others are trained on.
                steps = options.steps
                if tokens:
                    kept = keep_count(BATCH, settings["sample_ratio"])
                    steps = round(tokens / (kept * ANSWER_TOKENS))
                out = Path(scratch) / arm.replace(" ", "-")
                trainer = train(model, rows, steps, seed, out, own)
                result = Result(*trained_on(out, rows), *tested(trainer.model, test))
                tokens = tokens or result.tokens
                results[arm].append(result)
    show_results(console, results, options)
    console.print(f"Done in {time.perf_counter() - started:.0f} s.")


def conversations(n: int, seed: int, bad: float) -> list[dict[str, Any]]:
    """Conversations of three questions, each with a call of a tool and an answer.

    Returns:
        Rows with ``messages``, and ``bad``: numbers of the assistant's turns that are wrong.
    """
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        messages: list[dict[str, Any]] = []
        wrong = []
        for question in range(3):
            tool, city, result = (draw.choice(words) for words in (TOOLS, CITIES, RESULTS))
            called, place, told = tool, city, result
            if draw.random() < bad:  # another tool, or another city
                wrong.append(2 * question + 1)
                if draw.random() < 0.5:
                    called = draw.choice([one for one in TOOLS if one != tool])
                else:
                    place = draw.choice([one for one in CITIES if one != city])
            if draw.random() < bad:  # not what the tool has said
                wrong.append(2 * question + 2)
                told = draw.choice([one for one in RESULTS if one != result])
            call = {"type": "function", "function": {"name": called, "arguments": {"city": place}}}
            messages += [
                {"role": "user", "content": f"what is the {tool} in {city} ?"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": result},
                {"role": "assistant", "content": f"it is {told} ."},
            ]
        rows.append({"id": f"c{i}", "messages": messages, "bad": wrong})
    return rows


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of one token a word, with the chat template."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>")
    made.chat_template = TEMPLATE
    return made


def new_model(seed: int) -> LlamaForCausalLM:
    """A model of 0.3 million parameters that knows nothing."""
    set_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )


def train(
    model: LlamaForCausalLM,
    rows: Sequence[dict[str, Any]],
    steps: int,
    seed: int,
    output: Path,
    pruning: dict[str, Any],
) -> QTuningTrainer:
    """Train a model on conversations, and return the trainer."""
    args = QTuningConfig(
        str(output),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=3e-3,
        warmup_steps=10,
        seed=seed,
        assistant_only_loss=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10_000,
        log_level="error",
        **pruning,
    )
    data = Dataset.from_list([{"id": row["id"], "messages": row["messages"]} for row in rows])
    trainer = QTuningTrainer(model, args, train_dataset=data, processing_class=tokenizer())
    trainer.train()
    return trainer


def trained_on(output: Path, rows: Sequence[dict[str, Any]]) -> tuple[int, float]:
    """The answer tokens that a run was trained on, and the share of its turns that were bad."""
    bad = {row["id"]: row["bad"] for row in rows}
    budget = json.loads((output / "budget.json").read_text())
    n = n_bad = 0
    for row in qtuning.read_ledger(output).to_pylist():
        if row["kept"]:
            wrong = bad[row["sample_id"]]
            n += 1 if "turn" in row else 6
            n_bad += row["turn"] in wrong if "turn" in row else len(wrong)
    return budget["kept_answer_tokens"], n_bad / n


def tested(model: LlamaForCausalLM, rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Mean NLL of the answer tokens in nats, and the share of turns with every token right."""
    nll: list[float] = []
    right: list[bool] = []
    words = tokenizer()
    model.eval()
    for row in rows:
        made = words.apply_chat_template(
            row["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = torch.tensor(made["input_ids"]), torch.tensor(made["assistant_masks"])
        with torch.no_grad():
            logits = model(ids[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
        hits = logits.argmax(-1) == ids[1:]
        places = mask[1:].nonzero()[:, 0].tolist()
        nll += losses[places].tolist()
        turn: list[bool] = []
        for place in places:
            turn.append(bool(hits[place]))
            if place + 1 not in places:
                right.append(all(turn))
                turn = []
    return mean(nll), mean(right)


def show_found(console: Console, rows: Sequence[dict[str, Any]], model: Path) -> None:
    """Score the turns, and print which were found bad and whether they are."""
    scored = qtuning.score(
        Dataset.from_list(list(rows)),
        model,
        prune_unit="turn",
        assistant_only_loss=True,
        bf16=False,
        progress=False,
    )
    table = Table(title="Turns that would be dropped, against the truth", title_justify="left")
    for name in ("sample pruner", "unit", "dropped", "of them bad", "of the bad found"):
        table.add_column(name, justify="right" if "d" in name[-5:] else "left")
    n_bad = sum(len(row["bad"]) for row in rows)
    for pruner in ("ppl-low", "q-tuning"):
        for unit in ("turn", "sample"):
            decided = qtuning.prune(
                scored,
                sample_pruner=pruner,
                sample_ratio=1 - BAD,
                token_ratio=1.0,
                prune_unit=unit,
                with_dropped=True,
            )
            dropped = hits = 0
            for row in decided:
                turns: Sequence[int] = range(1, 7)
                if unit == "turn":
                    turns = [one["turn"] for one in row["turn_decisions"] if not one["kept"]]
                elif row["kept"]:
                    turns = ()
                dropped += len(turns)
                hits += len(set(turns) & set(row["bad"]))
            shares = f"{hits / max(1, dropped):.0%}", f"{hits / n_bad:.0%}"
            table.add_row(pruner, unit, f"{dropped:,}", *shares)
    console.print(f"{n_bad:,} of {6 * len(rows):,} turns are bad.")
    console.print(table)


def show_results(
    console: Console, results: dict[str, list[Result]], options: argparse.Namespace
) -> None:
    """Print the table of all runs."""
    table = Table(
        title=f"Trained on, and tested on 100 sound conversations, {options.seeds} seeds",
        title_justify="left",
    )
    table.add_column("trained")
    for name in ("answer tokens", "bad turns", "NLL, nats a token", "turns right"):
        table.add_column(name, justify="right")
    for arm, runs in results.items():
        tokens, bad, nll, right = zip(*runs, strict=True)
        table.add_row(
            arm,
            f"{mean(tokens):,.0f}",
            f"{mean(bad):.1%}",
            spread(nll, "{:.3f}"),
            spread(right, "{:.1%}"),
        )
    console.print(table)


def spread(values: Sequence[float], form: str) -> str:
    """Mean and standard deviation of the seeds."""
    return form.format(mean(values)) + (
        f" ± {form.format(stdev(values))}" if len(values) > 1 else ""
    )


if __name__ == "__main__":
    main()
