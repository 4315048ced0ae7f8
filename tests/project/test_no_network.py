"""No telemetry: a run needs no network, and asks for none."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .. import device, tiny

OFFLINE = (
    *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"),
    *("HF_HUB_DISABLE_TELEMETRY", "HF_UPDATE_DOWNLOAD_COUNTS"),
)


def test_commands_ask_nobody(tmp_path) -> None:
    """Not even though nothing says that it is offline."""
    model = tiny.save_model(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    tiny.dataset(8).to_json(rows)
    named = ["--model_name_or_path", str(model), "--dataset_name", str(rows)]
    run = ["--output_dir", str(tmp_path / "out"), *device.flags(), "--bf16", "false"]
    run += ["--max_steps", "1", "--report_to", "none"]
    scores, report = str(tmp_path / "s.parquet"), str(tmp_path / "r.html")
    commands = [
        ["train", *named, *run],
        ["score", *named, "--output", scores, "--per_token"],
        ["report", scores, "--output", report],
    ]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    script = Path(__file__).with_name("refusing_run.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "commands.json")],
        env={name: value for name, value in os.environ.items() if name not in OFFLINE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"codes": [0, 0, 0], "asked": []}
