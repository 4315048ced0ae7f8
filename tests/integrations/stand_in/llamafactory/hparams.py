import json
import sys
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path

from transformers import HfArgumentParser, Seq2SeqTrainingArguments

_RECORDED = json.loads(
    (Path(__file__).parents[2] / "llamafactory" / "signatures.json").read_text()
)["options"]


def _made(name):
    values = [(one, object, field(default=None)) for one in _RECORDED[name]]
    return make_dataclass(name, values)


ModelArguments = _made("ModelArguments")
DataArguments = _made("DataArguments")
FinetuningArguments = _made("FinetuningArguments")
GeneratingArguments = _made("GeneratingArguments")


@dataclass
class TrainingArguments(Seq2SeqTrainingArguments):
    overwrite_output_dir: bool = False
    fp8: bool = False


def read_args(args=None):
    if args is not None:
        return args
    path, *words = sys.argv[1:]
    if not path.endswith(".yaml"):
        return [path, *words]
    given = json.loads(Path(path).read_text())
    return given | {key: json.loads(value) for key, _, value in (w.partition("=") for w in words)}


def get_train_args(args=None):
    parsed = []
    for kind in (ModelArguments, DataArguments, FinetuningArguments, GeneratingArguments):
        names = {one.name for one in fields(kind)}
        parsed.append(kind(**{key: value for key, value in args.items() if key in names}))
        args = {key: value for key, value in args.items() if key not in names}
    training = HfArgumentParser(TrainingArguments).parse_dict(args)[0]
    parsed[2].stage = parsed[2].stage or "sft"
    if parsed[1].dataset is None:
        raise ValueError("Please specify dataset for training.\nHere is more.")
    if training.resume_from_checkpoint is None and Path(training.output_dir).is_dir():
        found = sorted(map(str, Path(training.output_dir).glob("checkpoint-*")))
        training.resume_from_checkpoint = found[-1] if found else None
    return parsed[0], parsed[1], training, parsed[2], parsed[3]
