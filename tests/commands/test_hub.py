"""``--push_to_hub`` of the commands, to a Hub on this machine."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from huggingface_hub import ModelCard

from .. import device, tiny
from ..hub import hub
from ..project.test_no_network import OFFLINE

COMMANDS = (
    "import json, sys; from qtuning.commands.main import main; "
    "print([main(one) for one in json.loads(sys.argv[1])])"
)


def run_with(server, tmp_path, *commands, token="t"):
    """Run commands in a Python of their own: the Hub's client reads its address at the import."""
    env = {name: value for name, value in os.environ.items() if name not in OFFLINE}
    env |= {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1"} | ({"HF_TOKEN": token} if token else {})
    words = json.dumps([[str(word) for word in one] for one in commands])
    run = [sys.executable, "-c", COMMANDS, words]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


@pytest.mark.slow
def test_a_run_and_a_pruned_data_set_are_pushed_with_their_cards(tmp_path) -> None:
    model, rows = tiny.save_model(tmp_path / "model"), tmp_path / "rows.jsonl"
    tiny.dataset(16).to_json(rows)
    scores, kept, out = tmp_path / "s.parquet", tmp_path / "kept.parquet", tmp_path / "out"
    named = ["--model_name_or_path", model, "--dataset_name", rows]
    train = ["train", *named, "--output_dir", out, *device.flags(), "--bf16", "false"]
    train += ["--max_steps", "2", "--save_steps", "1", "--report_to", "none"]
    train += ["--sample_ratio", "0.5", "--push_to_hub", "true", "--hub_model_id", "me/pruned"]
    prune = ["prune", scores, "--output", kept, "--sample_ratio", "0.25", "--token_ratio", "1.0"]
    prune += ["--push_to_hub", "--repo_id", "me/rows", "--hub_private_repo", "true"]
    with hub() as server:
        said, errors = run_with(
            server, tmp_path, train, ["score", *named, "--output", scores], prune
        )
        assert said.splitlines()[-1] == "[0, 0, 0]", errors
    pushed = server.files["me/pruned"]
    assert {"model.safetensors", "README.md", "tokenizer.json", "budget.json"} <= set(pushed)
    card = ModelCard(pushed["README.md"].decode())
    assert {"trl", "sft", "q-tuning"} <= set(card.data.tags)
    assert "In 2 steps it trained on 8 of 16 (50.0%) samples" in card.text
    assert str(tmp_path) not in card.content
    assert "End of training" in server.messages
    assert any("step 1" in message for message in server.messages)

    made = server.made["me/rows"]  # in the words of newer clients, and of older ones
    assert made.get("visibility") == "private" or made["private"] is True
    files = server.files["me/rows"]
    assert files.keys() == {"README.md", "train.parquet"}
    assert files["train.parquet"] == kept.read_bytes()
    text = files["README.md"].decode()
    assert str(tmp_path) not in text
    for words in ("4 of 16 rows", "rows.jsonl", "scored by: model", "`0.25`", "@article"):
        assert words in text
    assert "q-tuning" in yaml.safe_load(text.split("---")[1])["tags"]
    assert "Pushed to" in said


@pytest.mark.slow
def test_what_the_hub_refuses_is_told_in_one_line(tmp_path) -> None:
    model, rows = tiny.save_model(tmp_path / "model"), tmp_path / "rows.jsonl"
    tiny.dataset(8).to_json(rows)
    scores, kept = tmp_path / "s.parquet", tmp_path / "kept.parquet"
    score = ["score", "--model_name_or_path", model, "--dataset_name", rows, "--output", scores]
    prune = ["prune", scores, "--output", kept, "--token_ratio", "1.0"]
    prune += ["--push_to_hub", "--repo_id", "me/rows"]
    train = ["train", *score[1:5], "--output_dir", tmp_path / "out", *device.flags()]
    train += ["--bf16", "false", "--push_to_hub", "true", "--hub_model_id", "me/it"]
    with hub() as server:
        said, errors = run_with(server, tmp_path, score, prune, train, token=None)
    assert said.splitlines()[-1] == "[0, 2, 2]", errors
    rows_line, model_line = [one for one in errors.splitlines() if "--push_to_hub" in one]
    assert "is written, and was not pushed" in rows_line
    assert "the Hub does not take the model" in model_line
    assert all("hf auth login" in line for line in (rows_line, model_line))
    assert kept.exists()
