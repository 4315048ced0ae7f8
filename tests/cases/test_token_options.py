"""Options that decide tokens do the same in `train`, `score` and `prune`, and are not mixed."""

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer
from trl import SFTConfig

from qtuning.commands.main import main

from .. import talks, tiny
from ..talks import answer, user
from .shown import marked

LONG = "so it is and so it will be"
ROWS = {
    "pairs": [{"prompt": f"{i} {LONG}?", "completion": f"{i}{i}"} for i in range(4)],
    "talks": [
        {"messages": [user(f"{i}?"), answer("a"), user("b"), answer(LONG)]} for i in range(4)
    ],
    "Alpaca": [{"instruction": f"Say {i}", "input": "", "output": f"{i}{i}"} for i in range(4)],
    "text": [{"body": f"{i} {LONG}"} for i in range(4)],
}
OPTIONS = {
    "eos_token": ("pairs", ["--eos_token", "<e>"]),
    "pad_token": ("pairs", ["--pad_token", "<u>"]),
    "completion_only_loss": ("pairs", ["--completion_only_loss", "false"]),
    "max_length": ("talks", ["--max_length", "30"]),
    "truncation_mode": ("pairs", ["--max_length", "20", "--truncation_mode", "keep_end"]),
    "assistant_only_loss": ("talks", ["--assistant_only_loss", "true"]),
    "chat_template_path": ("Alpaca", ["--chat_template_path", "t.jinja"]),
    "dataset_text_field": ("text", ["--dataset_text_field", "body"]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_tokens_are_trained_scored_and_written(
    model, train, folder, monkeypatch, name
) -> None:
    kind, options = OPTIONS[name]
    if name not in SFTConfig.__dataclass_fields__:
        pytest.skip("this version of TRL has no such option")
    monkeypatch.chdir(folder)
    (folder / "t.jinja").write_text(tiny.CHAT_TEMPLATE)
    model(talks.TEMPLATE if kind == "talks" else None)
    data = talks.write(folder / "d.jsonl", ROWS[kind])
    wanted = [row.text for row in train(data, *options)[0]]
    assert len(wanted) == 4

    scores = folder / "s.parquet"
    score = ["score", "--model_name_or_path", str(folder / "model"), "--dataset_name", str(data)]
    score += ["--bf16", "false", "--output", str(scores)]
    assert main([*score, *options]) == 0
    keep = ["--sample_pruner", "full", "--sample_ratio", "1.0", "--token_ratio", "1.0"]
    assert main(["prune", str(scores), *keep, "--format", "trl", "--output", "pruned"]) == 0
    rows = pq.read_table(folder / "pruned" / "train.parquet").to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    made = [marked(tokenizer, row["input_ids"], row["labels"]) for row in rows]
    assert made == wanted
    assert all("⟦" in text for text in wanted)


# Another pad token changes no score, and without the column of text there are no rows.
@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - {"pad_token", "dataset_text_field"}))
def test_scores_with_and_without_an_option_are_not_mixed(
    model, folder, capfd, monkeypatch, name
) -> None:
    kind, options = OPTIONS[name]
    monkeypatch.chdir(folder)
    (folder / "t.jinja").write_text(tiny.CHAT_TEMPLATE)
    model(talks.TEMPLATE if kind == "talks" else None)
    data = talks.write(folder / "d.jsonl", ROWS[kind])
    score = ["score", "--model_name_or_path", str(folder / "model"), "--dataset_name", str(data)]
    score += ["--bf16", "false", "--output", str(folder / "s.parquet")]
    assert main(score) == 0
    before = (folder / "s.parquet").read_bytes()
    capfd.readouterr()
    assert main([*score, *options]) == 2
    assert "qtuning: " in capfd.readouterr().err
    assert (folder / "s.parquet").read_bytes() == before
