"""Packed runs: the ledger has the user's own names, and what is trained is what TRL packs."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset
from trl import SFTConfig

import qtuning
from qtuning.commands import main as cli
from qtuning.explanation.texts import Texts
from qtuning.offline.rows_of_run import places_of, read_rows_of_run

from .. import device, runs, tiny

SHUFFLES = "shuffle_dataset" in SFTConfig.__dataclass_fields__


def ledger_ids(folder: Path) -> set[str]:
    return set(qtuning.read_ledger(folder)["sample_id"].to_pylist())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dataset_num_proc": 2},
        {"per_device_train_batch_size": 1},
        *([{"shuffle_dataset": True}] if SHUFFLES else []),
    ],
    ids=str,
)
def test_packed_samples_have_their_own_names_and_trl_packs_the_same_rows(tmp_path, changes) -> None:
    settings = {"packing": True, "max_length": 64, "num_train_epochs": 1, **changes}
    trainer = runs.pruning(tmp_path / "out", **settings)
    stock = runs.stock(tmp_path / "stock", **settings)
    columns = stock.train_dataset.column_names
    assert trainer.train_dataset.select_columns(columns)[:] == stock.train_dataset[:]
    trainer.train()
    assert ledger_ids(tmp_path / "out") == {row["id"] for row in tiny.rows()}


def test_the_names_are_those_of_a_run_that_does_not_pack(tmp_path) -> None:
    """Each with its own scores."""
    for packing in (True, False):
        runs.pruning(
            tmp_path / str(packing),
            packing=packing,
            padding_free=not packing,
            max_length=64 if packing else None,
            num_train_epochs=1,
            learning_rate=0.0,
            model=tiny.llama(),
        ).train()
    found = [
        dict(zip(*(table[name].to_pylist() for name in ("sample_id", "ppl")), strict=True))
        for table in (qtuning.read_ledger(tmp_path / str(packing)) for packing in (True, False))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert len(found[0]) == 24


def test_rows_without_ids_are_named_by_their_numbers(tmp_path) -> None:
    data = tiny.dataset().remove_columns("id")
    runs.pruning(tmp_path, data=data, packing=True, max_length=64, num_train_epochs=1).train()
    assert ledger_ids(tmp_path) == set(map(str, range(24)))


@pytest.mark.skipif(not SHUFFLES, reason="older TRL does not split")
def test_pieces_of_a_sample_have_names_of_their_own_that_lead_to_it(tmp_path) -> None:
    rows = [*tiny.rows(8), {"prompt": "p", "completion": " so" * 30, "id": "long"}]
    trainer = runs.pruning(
        tmp_path,
        data=Dataset.from_list(rows),
        packing=True,
        packing_strategy="bfd_split",
        max_length=40,
        num_train_epochs=1,
    )
    trainer.train()
    pieces = {name for name in ledger_ids(tmp_path) if name.startswith("long")}
    assert pieces == {"long", "long#2", "long#3"}
    table, _ = read_rows_of_run(Dataset.from_list(rows))
    names = pa.array(["long", "long#2", "s3", "long#2#2", "#2"])
    assert places_of(names, table)[0].to_pylist() == [8, 8, 3, None, None]


def test_a_name_that_looks_like_a_piece_is_found_first() -> None:
    rows = Dataset.from_list([{"text": "a", "id": "x"}, {"text": "b", "id": "x#2"}])
    table, _ = read_rows_of_run(rows)
    assert places_of(pa.array(["x#2", "x#3"]), table)[0].to_pylist() == [1, 0]


def test_names_that_packed_samples_share_are_refused_where_scores_are_remembered(tmp_path) -> None:
    rows = [{**row, "id": f"s{place % 20}"} for place, row in enumerate(tiny.rows())]
    with pytest.raises(qtuning.UsageError, match="rows of other texts have one id"):
        runs.pruning(
            tmp_path,
            data=Dataset.from_list(rows),
            packing=True,
            max_length=64,
            score_refresh=0.5,
        )
    same = [*tiny.rows(), *tiny.rows(4)]
    runs.pruning(
        tmp_path, data=Dataset.from_list(same), packing=True, max_length=64, score_refresh=0.5
    )


@pytest.mark.slow
def test_reports_explanations_and_scores_find_packed_samples(tmp_path, capfd) -> None:
    model = tiny.save_model(tmp_path / "model")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.rows()))
    names = ["--model_name_or_path", str(model), "--dataset_name", str(data)]
    scores, out = tmp_path / "scores.parquet", tmp_path / "out"
    assert cli.main(["score", *names, "--output", str(scores)]) == 0
    flags = ["--packing", "true", "--max_length", "64", "--report_to", "none", *device.flags()]
    flags += ["--save_strategy", "no", "--initial_scores", str(scores), "--output_dir", str(out)]
    flags += ["--score_refresh", "0.5"]
    assert cli.main(["train", *names, *flags]) == 0
    page = tmp_path / "page.html"
    assert cli.main(["report", str(out), "--rows", str(data), "--output", str(page)]) == 0
    assert Texts.read(data, pa.array(sorted(ledger_ids(out)))).places.null_count == 0
    capfd.readouterr()
    flags = ["--sample_ratio", "0.5"]
    assert cli.main(["diff", str(out), str(scores), *flags]) == 0
    assert "no sample is in both" not in capfd.readouterr().err
