"""Score a few rows and look at them: which answers does the model find hard, or unsure?

    python examples/offline_score.py --model HuggingFaceTB/SmolLM2-135M-Instruct

``--model`` is a folder, a Hub id or a GGUF file. On the command line: ``qtuning score``.
"""

import argparse

from datasets import Dataset

import qtuning

ROWS = [
    ("What is 3 + 4?", " 3 + 4 is 7."),
    ("What is 3 + 4?", " 3 + 4 is 12."),
    ("What colour is the sky by day?", " The sky is blue."),
    ("What colour is the sky by day?", " Cheese trains argue softly."),
    ("Name an animal.", " A dog."),
    ("Name an animal.", " An axolotl, which breathes through gills all its life."),
    ("Say yes.", " yes yes yes yes yes yes yes yes"),
    ("Who are you?", " I am a small language model."),
]


def main() -> None:
    """Score the rows and print them, hardest first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    options = parser.parse_args()
    rows = Dataset.from_list([{"prompt": p, "completion": c} for p, c in ROWS])

    scores = qtuning.score(rows, options.model, per_token=True)

    print("perplexity  entropy  hardest token  answer")
    for row in scores.sort("ppl", reverse=True):
        max_nll = max(row["token_nll"])
        print(f"{row['ppl']:10.1f}  {row['entropy']:7.2f}  {max_nll:8.1f} nats {row['completion']}")


if __name__ == "__main__":
    main()
