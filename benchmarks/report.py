"""Tables and figures from the benchmark's JSON.

    python benchmarks/report.py benchmarks/results/speed.json

Writes speed.md and speed-*.png next to the JSON file. Measures nothing.
"""

import json
import sys
from pathlib import Path

from plots import draw
from tables import document


def main(arguments: list[str]) -> int:
    """Write the report of a results file; return the exit code."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print(
            "usage: python benchmarks/report.py RESULTS.json, as speed.py wrote it", file=sys.stderr
        )
        return 2
    results = Path(arguments[0])
    content = json.loads(results.read_text())
    figures = draw(content, results.parent, results.stem)
    pictures = "\n".join(f"![{file.stem}]({file.name})\n" for file in figures)
    page = results.with_suffix(".md")
    page.write_text(f"{document(content)}\n## Figures\n\n{pictures}")
    print("\n".join(str(file) for file in (page, *figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
