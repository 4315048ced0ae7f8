"""One run of the demo: judge the model, train it, judge it again.

``demo.py`` starts it, in a process of its own so that its peak memory is its own. The output folder
has the record of the run and ``outcome.json``.
"""

import argparse
import json
import threading
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import datasets
import psutil  # type: ignore[import-untyped]  # accelerate needs it as well
import torch
import transformers
import yaml
from datasets import Dataset
from problems import is_right, train_and_held_out
from progress import Tick, waiting_for

from qtuning import TOKEN_PRUNERS, QTuningConfig, QTuningTrainer
from qtuning.io.models import load_causal_lm, load_tokenizer

SETTINGS = Path(__file__).with_name("demo.yaml")
ANSWER_TOKENS = 40  # the longest solution has fewer


def main() -> None:
    """Carry out one run."""
    options = read_options()
    be_quiet()
    folder = Path(options.output_dir)
    train, held_out = train_and_held_out(options.problems, options.held_out)
    to_solve = held_out[: options.solve]

    with waiting_for("loading the model"):
        tokenizer = load_tokenizer(options.model)
        tokens = WatchedTokens(tokenizer)
        trainer = QTuningTrainer(
            load_causal_lm(options.model),
            config(folder, json.loads(options.settings), tokens),
            train_dataset=Dataset.from_list(train),
            eval_dataset=Dataset.from_list(held_out),
            processing_class=tokenizer,
        )
    trainer.remove_callback(transformers.PrinterCallback)

    outcome: dict[str, Any] = {}
    if options.judge_before:
        outcome["before"] = judge(trainer, tokenizer, to_solve)
        print(f"     before: {describe(outcome['before'])}\n", flush=True)
    with waiting_for("training") as tick, PeakMemory() as memory:
        trainer.add_callback(StepLine(tick))
        trainer.train()
    outcome["peak_mib"] = memory.peak / 2**20
    outcome["after"] = judge(trainer, tokenizer, to_solve)
    print(f"\n     after: {describe(outcome['after'])}", flush=True)
    if options.save_model:
        trainer.save_model()
    if tokens.seen is not None:
        name, keep = tokens.seen
        row = next(row for row in train if row["id"] == name)
        outcome["pruned"] = {"sample_id": name, "text": mark(tokenizer, row, keep)}
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=2) + "\n")


def read_options() -> argparse.Namespace:
    """The options of one run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="what training starts from")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--problems", type=int, required=True)
    parser.add_argument("--held_out", type=int, required=True)
    parser.add_argument("--solve", type=int, required=True)
    parser.add_argument("--settings", default="{}", help="JSON, in place of those in demo.yaml")
    parser.add_argument("--judge_before", action="store_true", help="judge the untrained model too")
    parser.add_argument("--save_model", action="store_true")
    return parser.parse_args()


def be_quiet() -> None:
    """Leave the terminal to the demo's own lines."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)


def config(folder: Path, other: dict[str, Any], tokens: "WatchedTokens") -> QTuningConfig:
    """The settings of ``demo.yaml``, but for some; ``tokens`` unless they name a token pruner."""
    settings = {"token_pruner": tokens, **yaml.safe_load(SETTINGS.read_text()), **other}
    # At level error, which be_quiet sets, a run would not tell of its budget either.
    settings["log_level"] = "warning"
    return QTuningConfig(output_dir=str(folder), **settings)


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

    def __init__(self, tick: Tick) -> None:
        """Take the bar that is to move."""
        self.tick = tick

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        self.tick(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
        """Print what the trainer logs."""
        if "pruning/kept_samples" not in logs:
            return
        parts = [
            f"loss {logs['loss']:.3f}",
            f"kept {logs['pruning/kept_samples']:.0f} samples, "
            f"{logs['pruning/token_share']:.0%} of the answer tokens",
        ]
        if "pruning/q1_share" in logs:
            shares = [f"Q{q} {logs[f'pruning/q{q}_share']:.0%}" for q in (1, 2, 3, 4)]
            parts.append(", ".join(shares))
            parts.append(f"filled {logs['pruning/filled_share']:.0%} of the kept")
        if "pruning/rank_correlation" in logs:
            parts.append(f"rho {logs['pruning/rank_correlation']:.2f}")
        step = f"step {state.global_step}/{state.max_steps}"
        print(f"     {step}: {'; '.join(parts)}", flush=True)


class PeakMemory(AbstractContextManager["PeakMemory"]):
    """The highest memory in use while the block runs, in bytes, looked at ten times a second.

    That of the GPU where there is one. What the system remembers of a process itself is not the
    same everywhere, and on Linux a process begins with the peak of the one that started it.
    """

    def __init__(self) -> None:
        """Look at nothing yet."""
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(0.1):
            # What torch has reserved on a GPU only grows.
            gpu = torch.cuda.is_available()
            now = torch.cuda.memory_reserved() if gpu else process.memory_info().rss
            self.peak = max(self.peak, now)


def judge(trainer: QTuningTrainer, tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Held-out answer NLL, and how many problems are solved by greedy decoding."""
    with waiting_for("held-out NLL"):
        nll = trainer.evaluate()["eval_loss"]
    with waiting_for(f"solving {len(rows)} problems") as tick:
        texts = solve(trainer, tokenizer, rows, tick)
    solved = sum(is_right(text, row) for text, row in zip(texts, rows, strict=True))
    return {"nll": nll, "solved": solved, "of": len(rows)}


def solve(trainer: QTuningTrainer, tokenizer: Any, rows: Any, tick: Tick) -> list[str]:
    """Answers by greedy decoding, all at once; the bar moves token by token."""
    tokenizer.padding_side = "left"
    prompts = tokenizer.apply_chat_template(
        [row["prompt"] for row in rows],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
        padding=True,
    )
    tokenizer.padding_side = "right"
    width = prompts["input_ids"].shape[1]
    model = trainer.model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        output = model.generate(
            **prompts.to(model.device),
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=[Ticking(tick, width)],
        )
    texts: list[str] = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return texts


class Ticking(transformers.StoppingCriteria):
    """Stops nothing; it is what ``generate`` calls after each token."""

    def __init__(self, tick: Tick, width: int) -> None:
        """Take the bar and the tokens of the prompts."""
        self.tick = tick
        self.width = width

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Move the bar."""
        self.tick(input_ids.shape[1] - self.width, ANSWER_TOKENS)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def describe(result: dict[str, float]) -> str:
    """One line on what ``judge`` found."""
    return (
        f"held-out answer NLL {result['nll']:.3f} nats a token, "
        f"{result['solved']} of {result['of']} problems solved"
    )


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


if __name__ == "__main__":
    main()
