"""The sound files that the fuzzer breaks, each target's in a folder of its own."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from qtuning.arguments import PruningArguments, pruning_fields
from qtuning.run.ledger import Ledger, LedgerRow
from qtuning.run.pruner_memory import PrunerMemory
from qtuning.signals.reference_store import ReferenceStore
from qtuning.signals.score_store import Known, ScoreStore

from .. import tiny
from ..bad_input.conftest import score_table
from ..bad_input.test_configs import GRID
from ..bad_input.test_outputs import RECORD

_FLOATS = pa.list_(pa.float32())
_COLUMNS = (
    *(pa.array(["x"] * 8), pa.array([None] * 8), pa.array([-1] * 8), pa.array([2**62] * 8)),
    *(pa.array([0] * 8), pa.array([float("nan")] * 8), pa.array([float("inf")] * 8)),
    *(pa.array([[]] * 8, _FLOATS), pa.array([[None]] * 8, _FLOATS), pa.array([b"\xff"] * 8)),
    *(pa.array([True] * 8), pa.array([{"a": 1}] * 8), pa.array(["s0"] * 8)),
    *(pa.array(["s0", None] * 4), pa.array([1.5, None] * 4), pa.array([2.0] * 8)),
)
CONFIG = """sample_ratio: 0.5
token_ratio: 0.5
sample_pruner: q-tuning
token_mode: mask
seed: 5
learning_rate: 1e-4
one_pass: false
report_to: none
use_cpu: true
bf16: false
max_length: 64
model_init_kwargs: {a: 1}
lora_target_modules: [q_proj]
"""


def table_with_another_column(draw: random.Random) -> pa.Table:
    """Scores of which a column or two are something else, or gone."""
    table = score_table()
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.randrange(table.num_columns)
        name = table.column_names[place]
        if draw.random() < 0.15:
            table = table.remove_column(place)
        elif draw.random() < 0.15:
            table = table.append_column(draw.choice(["kept", "step", name]), draw.choice(_COLUMNS))
        else:
            table = table.set_column(place, name, draw.choice(_COLUMNS))
    return table


def make(folder: Path) -> None:
    """Write all of them."""
    for name in ("scores", "data", "stores", "yaml", "run", "rows", "results", "gguf"):
        (folder / name).mkdir(parents=True)
    pq.write_table(score_table(), folder / "scores" / "scores.parquet")
    rows = tiny.rows(8)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    data = folder / "data"
    (data / "a.jsonl").write_text(text)
    (data / "b.json").write_text(json.dumps(rows))
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (data / "c.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 3)
    (data / "d.csv").write_text("prompt,completion\n" + "a,b\n" * 5)
    (data / "e.jsonl").write_text('{"input_ids": [4, 5, 6], "labels": [-100, 5, 6]}\n' * 4)
    (data / "f.jsonl").write_text('{"conversations": [{"from": "human", "value": "a"}]}\n' * 4)
    Dataset.from_list(rows).to_parquet(str(data / "g.parquet"))
    Dataset.from_list(rows).save_to_disk(str(data / "saved"))
    stores = folder / "stores"
    extras = (("el2n", np.float32([0.5])),)
    ScoreStore({"a": Known(1.0, 0.5, 3, 1, extras)}).save(stores / "scores.parquet")
    reference = ReferenceStore()
    reference.learn([("a", np.ones(3, np.float32))])
    reference.save(stores / "reference.parquet")
    PrunerMemory().save(stores / "memory.safetensors")
    (folder / "yaml" / "config.yaml").write_text(CONFIG)
    (folder / "yaml" / "grid.yaml").write_text(json.dumps(GRID, indent=1))
    with Ledger.start(folder / "run" / "ledger") as ledger:
        ledger.append(
            LedgerRow(step // 4, step, f"s{i}", 1.5 + i, 0.5, 3, i % 5, i % 2 == 0, False, 2, True)
            for step in range(1, 7)
            for i in range(4)
        )
    counts = {"trained_tokens": 3, "scored_tokens": 4, "input_tokens": 5, "total_seconds": 1.0}
    (folder / "run" / "budget.json").write_text(json.dumps(counts))
    settings = pruning_fields(PruningArguments())
    (folder / "run" / "pruning_settings.json").write_text(json.dumps(settings))
    log = [{"step": s, "loss": 1.0 / s, "pruning/kept_tokens": 8.0} for s in range(1, 7)]
    (folder / "run" / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    (folder / "rows" / "rows.jsonl").write_text(text)
    (folder / "results" / "cell.json").write_text(json.dumps(RECORD))
    tiny.save_model(folder / "model", chat=True)
    _adapter(folder / "adapter", folder / "model")
    _gguf(folder / "gguf" / "model.gguf")


def _adapter(folder: Path, base: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = tiny.llama()
    model.name_or_path = str(base)
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2)).save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(base)
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _gguf(path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    for key in ("block_count", "head_count", "head_count_kv"):
        getattr(writer, f"add_{key}")(1)
    writer.add_context_length(64)
    writer.add_embedding_length(4)
    writer.add_feed_forward_length(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "c", "d"])
    writer.add_token_merges(["a b"])
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
