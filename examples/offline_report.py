"""Score a few rows and show them in one HTML file: open it in a browser.

    python examples/offline_report.py --model HuggingFaceTB/SmolLM2-135M-Instruct --output r.html

``--model`` is a folder, a Hub id or a GGUF file. On the command line: ``qtuning report``.
"""

import argparse

from datasets import Dataset
from offline_score import ROWS

import qtuning


def main() -> None:
    """Score the rows and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--output", default="report.html")
    options = parser.parse_args()
    rows = Dataset.from_list([{"prompt": p, "completion": c} for p, c in ROWS])

    scores = qtuning.score(rows, options.model, per_token=True)
    report = qtuning.report(scores, sample_ratio=0.25)

    print(f"{report.save(options.output)}: open it in a browser; in a notebook, made.show()")


if __name__ == "__main__":
    main()
