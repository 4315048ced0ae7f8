"""`qtuning prune`: the decisions of the core, and exports that trainers read."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from datasets import load_dataset, load_from_disk
from trl import SFTConfig, SFTTrainer

from qtuning import PruningArguments, keep_tokens, select_samples
from qtuning.commands.main import main
from qtuning.core.plane import Q2
from qtuning.errors import UsageError
from qtuning.offline.prune import decide_offline
from qtuning.pruners.protocols import OF_ALONE, OF_IMAGES, QUADRANTS, SCORES
from qtuning.pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS

from .. import device, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
FROM_SCORES = {SCORES, QUADRANTS}
FROM_SAMPLE_SCORES = {*FROM_SCORES, *OF_ALONE, *OF_IMAGES}


def prune(scores, output, *more):
    command = ["prune", str(scores), "--output", str(output), "--sample_ratio", "0.25"]
    return main([*command, *more])


@pytest.fixture(scope="module")
def table(scores):
    return pq.read_table(scores)


def test_decisions_are_those_of_the_core(table):
    args = PruningArguments(sample_ratio=0.25, token_ratio=0.5, protect_eos=False)
    found = decide_offline(table, args)
    ppl, entropy = (torch.tensor(table[name].to_pylist()) for name in ("ppl", "entropy"))
    expected = select_samples(ppl.double(), entropy.double(), 0.25)
    assert torch.equal(found.kept, expected.kept)
    assert torch.equal(found.quadrant, expected.quadrant)
    assert torch.equal(found.filled, expected.filled)
    pruned = found.kept & ~found.filled & (found.quadrant == Q2)
    assert found.token_keeps.keys() == set(pruned.nonzero().squeeze(1).tolist())
    for place, keep in found.token_keeps.items():
        nll = torch.tensor(table["token_nll"][place].as_py())
        assert torch.equal(keep, keep_tokens(nll, 0.5))


def test_pools_of_a_size_decide_apart(table):
    args = PruningArguments(sample_ratio=0.25, token_ratio=1.0)
    found = decide_offline(table, args, pool_size=8)
    assert [int(part.sum()) for part in found.kept.split(8)] == [2] * 5
    assert len(found.selections) == 5


@pytest.mark.parametrize("name", SAMPLE_PRUNERS)
def test_every_sample_pruner_decides_from_scores_or_says_that_it_cannot(table, name):
    args = PruningArguments(sample_pruner=name, sample_ratio=0.25, token_ratio=1.0)
    table = table.append_column("nll_alone_sum", pc.multiply(table["nll_sum"], 1.1))
    table = table.append_column("s_ifd", pc.divide(1.0, table["entropy"]))
    table = table.append_column("nll_without_images_sum", pc.multiply(table["nll_sum"], 1.2))
    if SAMPLE_PRUNERS[name].needs <= FROM_SAMPLE_SCORES:
        assert int(decide_offline(table, args).kept.sum()) == (40 if name == "full" else 10)
    else:
        with pytest.raises(UsageError, match=f"sample_pruner {name} needs more than scores"):
            decide_offline(table, args)


@pytest.mark.parametrize("name", TOKEN_PRUNERS)
def test_every_token_pruner_decides_from_scores_or_says_that_it_cannot(table, name):
    args = PruningArguments(
        sample_pruner="random",
        token_pruner=name,
        token_ratio=0.5,
        reference_model_name_or_path="x",
    )
    if TOKEN_PRUNERS[name].needs <= FROM_SCORES:
        assert len(decide_offline(table, args).token_keeps) == (0 if name == "none" else 10)
    else:
        with pytest.raises(UsageError, match=f"token_pruner {name} needs more than scores"):
            decide_offline(table, args)


def test_tokens_cannot_be_pruned_without_their_scores(table):
    bare = table.drop_columns(["token_nll", "token_entropy"])
    with pytest.raises(UsageError, match=r"score with --per_token, or set token_ratio to 1\.0"):
        decide_offline(bare, PruningArguments(token_ratio=0.5))
    args = PruningArguments(token_pruner="random", token_ratio=0.5)
    assert decide_offline(bare, args).token_keeps, "these need no scores"


# Files


def test_parquet_holds_what_is_kept_with_the_reason(scores, tmp_path, capsys):
    output = tmp_path / "o.parquet"
    assert prune(scores, output, "--token_ratio", "0.5") == 0
    rows = pq.read_table(output).to_pylist()
    assert len(rows) == 10
    assert "10 of 40 rows (25.0%)" in capsys.readouterr().out
    for row in rows:
        assert row["kept"]
        assert row["reason"].startswith("kept")
        assert (row["token_kept"] is None) == (row["quadrant"] != Q2 or row["filled"])


def test_dropped_rows_are_there_if_asked_for(scores, tmp_path):
    output = tmp_path / "o.jsonl"
    more = ["--format", "jsonl", "--with_dropped", "--token_ratio", "1.0"]
    assert prune(scores, output, *more) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 40
    assert sum(row["kept"] for row in rows) == 10
    assert {row["reason"].split(":")[0] for row in rows if not row["kept"]} == {"dropped"}


def test_a_datasets_folder_is_one(scores, tmp_path):
    output = tmp_path / "o"
    assert prune(scores, output, "--format", "datasets", "--token_ratio", "1.0") == 0
    assert load_from_disk(str(output)).num_rows == 10


def trained_labels(scores, tmp_path, mode):
    """Input ids and labels of the kept rows as a dynamic trainer would have them."""
    output = tmp_path / f"trl-{mode}"
    assert (
        prune(scores, output, "--format", "trl", "--token_ratio", "0.5", "--token_mode", mode) == 0
    )
    return load_dataset("parquet", data_files=str(output / "train.parquet"), split="train")


def test_trl_trains_on_the_tokenised_rows_with_pruned_labels(scores, model, tmp_path):
    data = trained_labels(scores, tmp_path, "mask")
    assert data.num_rows == 10
    masked = decide_offline(pq.read_table(scores), PruningArguments(sample_ratio=0.25))
    kept = masked.kept.nonzero().squeeze(1).tolist()
    counts = pq.read_table(scores)["n_tokens"].to_pylist()
    for row, place in zip(data, kept, strict=True):
        keep = masked.token_keeps.get(place)
        expected = counts[place] if keep is None else int(keep.sum())
        assert sum(label != -100 for label in row["labels"]) == expected
        assert all(y in (-100, x) for x, y in zip(row["input_ids"], row["labels"], strict=True))
    how = {**device.arguments(), "max_steps": 1, "bf16": False, "report_to": "none"}
    args = SFTConfig(str(tmp_path / "run"), **how)
    trainer = SFTTrainer(tiny.llama(), args, train_dataset=data, processing_class=tiny.tokenizer())
    trainer.train()
    batch = trainer.data_collator([trainer.train_dataset[0]])
    assert batch["labels"][0].tolist() == data[0]["labels"]


def test_dropped_tokens_are_not_in_the_input(scores, tmp_path):
    masked, dropped = (trained_labels(scores, tmp_path, mode) for mode in ("mask", "drop"))
    assert sum(map(len, dropped["input_ids"])) < sum(map(len, masked["input_ids"]))
    for a, b in zip(masked["labels"], dropped["labels"], strict=True):
        assert [x for x in a if x != -100] == [x for x in b if x != -100]


def test_prompts_and_completions_are_beside_them(scores, tmp_path):
    trained_labels(scores, tmp_path, "mask")
    rows = [json.loads(x) for x in (tmp_path / "trl-mask" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    assert rows[0].keys() == {"prompt", "completion", "id"}


def test_llamafactory_reads_its_entry_and_its_tokenised_folder(scores, tmp_path):
    output = tmp_path / "o"
    assert prune(scores, output, "--format", "llamafactory", "--token_ratio", "0.5") == 0
    info = json.loads((output / "dataset_info.json").read_text())["qtuning"]
    data = load_dataset("json", data_files=str(output / info["file_name"]), split="train")
    assert info["columns"] == {"prompt": "prompt", "response": "completion"}
    assert set(info["columns"].values()) <= set(data.column_names)
    # tokenized_path is read by load_from_disk, the split is called train.
    tokens = load_from_disk(str(output / "tokenized"))["train"]
    assert tokens.column_names == ["input_ids", "attention_mask", "labels"]
    assert tokens.num_rows == 10


def test_axolotl_reads_pre_tokenised_rows_by_its_stanza(scores, tmp_path):
    output = tmp_path / "o"
    assert prune(scores, output, "--format", "axolotl", "--token_ratio", "0.5") == 0
    (stanza,) = yaml.safe_load((output / "datasets.yaml").read_text())["datasets"]
    assert stanza["type"] is None, "axolotl's sign for pre-tokenised"
    data = load_dataset(stanza["ds_type"], data_files=stanza["path"], split="train")
    assert set(data.column_names) == {"input_ids", "attention_mask", "labels"}
    for row in data:
        assert len(row["input_ids"]) == len(row["labels"]) == len(row["attention_mask"])


def test_a_changed_tokenizer_is_noticed(scores, model, tmp_path, capsys):
    template = model / "tokenizer_config.json"
    before = template.read_text()
    changed = tiny.tokenizer(chat=True)
    try:
        changed.save_pretrained(model)
        assert prune(scores, tmp_path / "o", "--format", "trl", "--token_ratio", "0.5") == 2
        assert "is not the one of the scores; score again" in capsys.readouterr().err
    finally:
        tiny.tokenizer().save_pretrained(model)
        for extra in model.glob("chat_template*"):
            extra.unlink()
        template.write_text(before)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--format", "csv"], "invalid choice"),
        (["--sample_pruner", "uds"], "needs more than scores"),
        (["--pool_size", "0"], "--pool_size must be at least 1"),
        (["--format", "trl", "--with_dropped"], "would train on them"),
        (["--sample_ratio", "0"], "sample_ratio must lie in (0, 1]"),
    ],
)
def test_bad_arguments(scores, tmp_path, capsys, more, said):
    assert prune(scores, tmp_path / "o", *more) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_that_is_there_is_overwritten(scores, tmp_path, capsys):
    (tmp_path / "o.parquet").write_text("mine")
    assert prune(scores, tmp_path / "o.parquet", "--token_ratio", "1.0") == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "o.parquet").read_text() == "mine"


@pytest.mark.parametrize("content", [None, "text"])
def test_scores_that_cannot_be_read(tmp_path, capsys, content):
    path = tmp_path / "s.parquet"
    if content is not None:
        path.write_text(content)
    assert prune(path, tmp_path / "o.parquet") == 2
    assert str(path) in capsys.readouterr().err


def test_columns_of_the_user_are_never_replaced(scores, tmp_path, capsys):
    table = pq.read_table(scores)
    mine = tmp_path / "mine.parquet"
    pq.write_table(table.append_column("kept", pa.array([1] * 40)), mine)
    assert prune(mine, tmp_path / "o.parquet", "--token_ratio", "1.0") == 2
    assert "have a column kept already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [torch.zeros(1, dtype=torch.bool), torch.zeros(40), "all", None, [True] * 40]
)
def test_a_samples_pruner_of_ones_own_is_checked_as_in_training(table, wrong):
    args = PruningArguments(sample_pruner=lambda pool, args: wrong, token_ratio=1.0)
    with pytest.raises(UsageError, match=r"must return a Selection or a bool tensor of shape \(40"):
        decide_offline(table, args)


@pytest.mark.parametrize("wrong", [[], [torch.zeros(1, dtype=torch.bool)] * 40, "all", None])
def test_a_token_pruner_of_ones_own_is_checked_as_in_training(table, wrong):
    args = PruningArguments(
        sample_ratio=1.0, token_pruner=lambda pool, args: wrong, token_ratio=0.5
    )
    with pytest.raises(UsageError, match=r"must return a bool tensor of shape \(T,\)"):
        decide_offline(table, args)


def test_a_mask_of_ones_own_is_enough(table):
    args = PruningArguments(sample_pruner=lambda pool, args: pool.n_tokens > 7, token_ratio=1.0)
    lengths = torch.tensor(table["n_tokens"].to_pylist())
    assert torch.equal(decide_offline(table, args).kept, lengths > 7)
