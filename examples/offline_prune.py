"""Score rows once, then prune them at several budgets and write the one you like.

    python examples/offline_prune.py --model HuggingFaceTB/SmolLM2-135M-Instruct --output kept

Scoring needs the model; deciding takes no time. On the command line: ``qtuning score``, then
``qtuning prune``. The folder written has ``train.parquet``, which TRL's ``SFTTrainer`` reads as it
is: the labels of pruned tokens are -100.
"""

import argparse

from datasets import Dataset

import qtuning


def make_rows(n: int) -> Dataset:
    """Make rows with sums, some with a worked solution and some with a wrong result."""
    rows = []
    for i in range(n):
        a, b = 3 * i % 17, 7 * i % 23
        answer = f" {a + b + (i % 5 == 0)}"
        solution = f" First {a}, then {b} more:{answer}"
        rows.append({"prompt": f"{a} + {b} =", "completion": solution if i % 3 else answer})
    return Dataset.from_list(rows)


def main() -> None:
    """Score the rows, compare budgets, and write the kept rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--output", default="kept", help="folder to write")
    options = parser.parse_args()

    scores = qtuning.score(make_rows(48), options.model, per_token=True)
    for ratio in (0.125, 0.25, 0.5):
        kept_rows = qtuning.prune(scores, sample_ratio=ratio, token_ratio=0.5)
        n_filled = sum(kept_rows["filled"])
        print(f"{ratio:.1%}: {len(kept_rows)} rows, {n_filled} of them only to fill the budget")

    kept_rows = qtuning.prune(
        scores, sample_ratio=0.25, token_ratio=0.5, output=options.output, format="trl"
    )
    for row in kept_rows.select(range(min(3, len(kept_rows)))):
        print(f"{row['prompt']}{row['completion']}   ({row['reason']})")
    print(f"Written to {options.output}.")


if __name__ == "__main__":
    main()
