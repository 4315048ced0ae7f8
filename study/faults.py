"""Which faults of rows the gain finds, and which it does not: the measurement of docs/suspects.md.

    python study/faults.py runs/faults runs/smollm2    # scores, and writes study/faults/cells
    python study/faults.py --tables                    # makes study/faults/results.md of the cells

Goes on where it was after a kill. Some of the data are those of the other studies, at
../shared/data; the rest are files of public repositories, put into runs/faults/data by hand:
data/code_alpaca_2k.json of sahil280114/codealpaca at 2f78ddc; data/glaive_toolcall_en_demo.json and
data/dpo_en_demo.json of hiyouga/LLaMA-Factory at ff6d4d12e; xquad.en.json and xquad.de.json of
google-deepmind/xquad at 7d30520.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors import DETECTORS, Cell, Mean, interval
from faulty_rows import FLAGS, SEEDS, SETTINGS, SHARE, Row, faulty, flagged, rows_of

FOLDER = Path(__file__).with_suffix("")
CELLS, RESULTS = FOLDER / "cells", FOLDER / "results.md"
MODEL = "SmolLM2-135M-Instruct"
SMALL = 10
"""The share of the small mixture in percent: a third of ``SHARE``."""


def main(folder: Path, model: Path) -> None:
    """Score all settings, and write a cell for each fault of each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    CELLS.mkdir(parents=True, exist_ok=True)
    for data, setting in SETTINGS.items():
        rows, short = rows_of(setting)
        versions: dict[str, dict[str, dict[str, Row]]] = {
            name: {str(seed): faulty(rows, short, fault, seed) for seed in SEEDS}
            for name, fault in setting.faults.items()
        }
        added = flagged() if data == "alpaca" else []
        known = _scored(folder, data, model, tokenizer, list(_all(rows, added, versions)))
        clean = {row.name: known[row.name] for row in rows}
        for fault, by_seed in versions.items():
            faulty_scores = {
                seed: {name: known[f"{name} {fault} {seed}"] for name in some}
                for seed, some in by_seed.items()
            }
            _write(data, fault, clean, faulty_scores)
        for flag in FLAGS if added else ():
            having = {row.name: known[row.name] for row in [*rows, *added] if row.meta[flag]}
            others = {row.name: known[row.name] for row in rows if not row.meta[flag]}
            _write(data, f"not {flag}", having, {"0": others})


def _all(
    rows: Sequence[Row],
    added: Sequence[Row],
    versions: Mapping[str, Mapping[str, Mapping[str, Row]]],
) -> Iterator[Row]:
    """Every row to score once, each version of a row under a name of its own."""
    yield from {row.name: row for row in [*rows, *added]}.values()
    for fault, by_seed in versions.items():
        for seed, some in by_seed.items():
            for name, row in some.items():
                yield row._replace(name=f"{name} {fault} {seed}")


def _scored(
    folder: Path, data: str, model: Path, tokenizer: Any, rows: Sequence[Row]
) -> dict[str, list[float]]:
    """Scores of rows by name: the fields of ``detectors.Scores``."""
    import qtuning

    path = folder / f"{data}.jsonl"
    lines = [json.dumps({"sample_id": row.name, **tokens(row, tokenizer)}) for row in rows]
    text = "".join(f"{line}\n" for line in lines)
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:  # else scoring goes on
        path.write_text(text, encoding="utf-8")
    scored = qtuning.score(
        path, model, output=path.with_suffix(".parquet"), alone=True, bf16=True, rows_per_part=64
    )
    columns = ("nll_sum", "nll_alone_sum", "n_tokens", "entropy")
    return {row["sample_id"]: [round(row[name], 4) for name in columns] for row in scored.to_list()}


def tokens(row: Row, tokenizer: Any) -> dict[str, list[int]]:
    """Input ids and labels of a row, by the chat template of the tokenizer."""

    def ids(n: int, **options: Any) -> list[int]:
        turns = [{"role": role, "content": text} for role, text in row.turns[:n]]
        text = tokenizer.apply_chat_template(turns, tokenize=False, **options)
        made: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return made

    whole = ids(len(row.turns))
    labels = [-100] * len(whole)
    for answer in row.answers:
        start, end = len(ids(answer, add_generation_prompt=True)), len(ids(answer + 1))
        labels[start:end] = whole[start:end]
    return {"input_ids": whole, "labels": labels}


def _write(data: str, fault: str, clean: Any, faulty_scores: Any) -> None:
    content = {"data": data, "fault": fault, "model": MODEL, "precision": "bfloat16 autocast"}
    content |= {"clean": clean, "faulty": faulty_scores}
    path = CELLS / f"{data}.{fault.replace(' ', '-')}.json"
    path.write_text(json.dumps(content, indent=None) + "\n", encoding="utf-8")


def tables() -> str:
    """The tables of all cells, in the order of the settings."""
    order = {name: place for place, name in enumerate(SETTINGS)}
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CELLS.glob("*.json"))]
    cells = sorted(map(Cell, files), key=lambda cell: order[cell.data])
    faults = [cell for cell in cells if not cell.fault.startswith("not ")]
    flags = [cell for cell in cells if cell.fault.startswith("not ")]
    parts = [_aucs("faults", faults), _aucs("outside flags", flags)]
    shares = ((SMALL, SMALL / (100 * SHARE)), (round(100 * SHARE), 1.0))
    for percent, share in shares:
        parts.append(_flags(f"Q1 at {percent}% faulty", faults, share))
    return "\n".join(parts)


def _aucs(title: str, cells: Sequence[Cell]) -> str:
    header = ["data", "fault", *DETECTORS, "gain minus perplexity"]
    lines = []
    for cell in cells:
        aucs = cell.aucs()
        difference = interval(aucs["gain"] - aucs["perplexity"])
        values = [_text(interval(values)) for values in aucs.values()]
        lines.append([cell.data, cell.fault, *values, _text(difference)])
    return _table(title, header, lines)


def _flags(title: str, cells: Sequence[Cell], share: float) -> str:
    lines, header = [], ["data", "fault"]
    for cell in cells:
        figures = cell.flags(share)
        header = ["data", "fault", *figures]
        lines.append([cell.data, cell.fault, *(_text(mean) for mean in figures.values())])
    return _table(title, header, lines)


def _text(mean: Mean) -> str:
    return f"{mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f})"


def _table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|---|---|" + "---:|" * (len(header) - 2)
    rows = ["| " + " | ".join(row) + " |" for row in (header, *lines)]
    return "\n".join([f"### {MODEL}, {title}", "", rows[0], rule, *rows[1:], ""])


if __name__ == "__main__":
    if sys.argv[1:] == ["--tables"]:
        RESULTS.write_text(tables(), encoding="utf-8")
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
