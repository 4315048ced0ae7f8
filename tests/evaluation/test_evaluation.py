"""`qtuning evaluate`: local tasks through the harness, held-out figures, and what goes wrong."""

import functools
import json
import math
import re

import pytest
import torch
import yaml
from datasets import Dataset
from peft import LoraConfig, get_peft_model

import qtuning
from qtuning.commands.main import main
from qtuning.errors import UsageError
from qtuning.evaluation.harness import PINNED, run_tasks
from qtuning.evaluation.held_out import held_out
from qtuning.evaluation.local_tasks import FOLDER, PREFIX, local_tasks, write_local_tasks
from qtuning.evaluation.tasks import squad

from .. import runs, tiny

tasks = pytest.importorskip("lm_eval.tasks", reason="lm-evaluation-harness is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")

CHOICES = {"arc_easy", "arc_challenge", "openbookqa", "piqa", "boolq"}
NUMBERS = {"gsm8k", "svamp", "mawps"}


@pytest.fixture(scope="module", autouse=True)
def _the_harness_reads_its_tasks_once():
    """That takes seconds."""
    real = tasks.TaskManager

    @functools.cache
    def its_own():
        return real(include_path=None, include_defaults=True)

    def manager(include_path=None, include_defaults=True):
        return its_own() if include_defaults else real(None, include_path, False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "TaskManager", manager)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two questions of each kind; none of them from a real data set."""
    folder = tmp_path_factory.mktemp("data")
    for path in FOLDER.glob("*.yaml"):
        name = path.stem
        if name in CHOICES:
            rows = [{"question": "1 + 1", "choices": ["2", "33"], "answer": 0}] * 2
        elif name in NUMBERS:
            row = {"prompt": "1 + 1 =", "completion": "1 + 1 = 2\n#### 2", "meta": {"answer": "2"}}
            rows = [row] * 2
        else:
            row = {"prompt": "Who?", "completion": "Ada", "meta": {"answers": ["Ada", "A. L."]}}
            rows = [row] * 2
        (folder / name).mkdir()
        lines = "".join(json.dumps({"id": f"{name}-{i}", **r}) + "\n" for i, r in enumerate(rows))
        (folder / name / "test.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def scores(data):
    model, tokenizer = tiny.llama(max_position_embeddings=512), tiny.tokenizer()
    return run_tasks(model, tokenizer, list(local_tasks()), data_dir=data, with_hits=True)


@pytest.mark.slow
def test_every_local_task_gives_its_metrics_with_version_and_standard_error(scores):
    by_task = {}
    for score in scores:
        by_task.setdefault(score.task.removeprefix(PREFIX), []).append(score)
    assert by_task.keys() == {path.stem for path in FOLDER.glob("*.yaml")}
    for task, some in by_task.items():
        found = {(score.metric, score.filter) for score in some}
        if task in CHOICES:
            assert found == {("acc", "none"), ("acc_norm", "none")}
        elif task in NUMBERS:
            assert found == {
                ("exact_match", "strict-match"),
                ("exact_match", "flexible-extract"),
            }
        elif task == "xquad_en":
            assert found == {("exact", "none"), ("f1", "none"), ("contains", "none")}
        else:
            assert found == {("exact_match", "remove_whitespace")}
        for score in some:
            assert 0 <= score.value <= 1
            assert score.n == 2
            assert len(score.hits) == 2
            assert math.fsum(score.hits) / 2 == pytest.approx(score.value)
            assert score.stderr is not None
            assert score.version == "1.0"


@pytest.mark.slow
def test_a_model_that_knows_gets_it_right(data, tmp_path):
    """Trained on the answers alone, a tiny model answers; so right is counted as right."""
    rows = [{"prompt": "1 + 1 =\n", "completion": "1 + 1 = 2\n#### 2", "id": "a"}] * 8
    # A line break is no token of the tiny tokenizer, which reads it as padding.
    from datasets import Dataset

    trainer = runs.pruning(
        tmp_path,
        data=Dataset.from_list(rows),
        model=tiny.llama(),
        sample_pruner="full",
        token_pruner="none",
        num_train_epochs=40,
        learning_rate=5e-3,
    )
    trainer.train()
    (strict, flexible) = run_tasks(
        trainer.model, trainer.processing_class, ["local_svamp"], data_dir=data, with_hits=True
    )
    assert {strict.filter, flexible.filter} == {"strict-match", "flexible-extract"}
    assert flexible.value == 1.0


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_local_task_names_its_data_and_a_version(path):
    task = yaml.safe_load(path.read_text().replace("!function ", ""))
    assert task["task"] == f"{PREFIX}{path.stem}"
    assert task["dataset_kwargs"]["data_files"] == {"test": f"{path.stem}/test.jsonl"}
    assert task["metadata"]["version"] == 1.0


def test_written_tasks_point_to_the_data(data, tmp_path):
    write_local_tasks(["local_gsm8k"], data, tmp_path)
    written = yaml.safe_load((tmp_path / "local_gsm8k.yaml").read_text())
    assert written["dataset_kwargs"]["data_files"] == {"test": str(data / "gsm8k" / "test.jsonl")}


@pytest.mark.parametrize(
    ("tasks", "data_dir", "said"),
    [
        (["local_gsm9k"], ".", "unknown task local_gsm9k; local tasks are local_arc_challenge"),
        (["local_gsm8k"], None, "local_gsm8k needs --data_dir"),
        (["local_gsm8k"], "nowhere", "point --data_dir at its folder"),
        (["no_such_task_at_all"], None, "unknown task no_such_task_at_all"),
    ],
)
def test_tasks_that_cannot_be_run(tmp_path, tasks, data_dir, said):
    folder = None if data_dir is None else tmp_path / data_dir
    with pytest.raises(UsageError, match=said):
        run_tasks(tiny.llama(), tiny.tokenizer(), tasks, data_dir=folder)


def test_the_pinned_versions_are_those_of_the_harness_that_ci_has():
    manager = tasks.TaskManager()
    for name, version in PINNED.items():
        path = manager.task_index[name].yaml_path
        text = path.read_text()
        if "class:" in text:  # a task in Python says it there
            text = path.with_name("task.py").read_text()
        for included in re.findall(r"include: *(\S+)", text):
            text += path.with_name(included).read_text()
        found = re.search(r"(?:version:|VERSION =) *([0-9.]+)", text)
        assert float(found[1]) == version, name


# SQuAD's scores


@pytest.mark.parametrize(
    ("said", "exact", "f1", "contains"),
    [
        ("The Eiffel Tower!", 1.0, 1.0, 1.0),
        ("eiffel", 0.0, 2 / 3, 0.0),
        ("It is the Eiffel Tower in Paris", 0.0, 2 * 2 / (6 + 2), 1.0),
        ("", 0.0, 0.0, 0.0),
        ("1889", 1.0, 1.0, 1.0),
        ("18890", 0.0, 0.0, 0.0),
    ],
)
def test_squad_scores(said, exact, f1, contains):
    doc = {"meta": {"answers": ["an Eiffel Tower", "1889"]}}
    made = squad.scores(doc, [said])
    assert made == {"exact": exact, "f1": pytest.approx(f1), "contains": contains}


# Held-out figures


def test_held_out_figures_are_those_of_the_model(tmp_path):
    trainer = runs.pruning(tmp_path, eval_data=tiny.dataset(6, seed=2), model=tiny.llama())
    made = held_out(trainer, trainer.eval_dataset, batch_size=2)
    losses, n, right = [], [], 0
    for row in trainer.eval_dataset:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = trainer.model.eval()(ids.to(trainer.model.device)).logits[0, :-1].cpu().float()
        labels = torch.tensor(trainer.data_collator([row])["labels"][0][1:])
        answers = labels != -100
        nll = torch.nn.functional.cross_entropy(logits[answers], labels[answers], reduction="sum")
        losses.append(float(nll))
        n.append(int(answers.sum()))
        right += int((logits[answers].argmax(1) == labels[answers]).sum())
    assert made.counts == tuple(n)
    assert made.nll_sums == pytest.approx(losses, rel=1e-4)
    assert made.nll == pytest.approx(sum(losses) / sum(n), rel=1e-4)
    assert made.accuracy == pytest.approx(right / sum(n))
    assert made.rows == 6
    assert 0 < made.stderr < made.nll
    assert 0 <= made.calibration_error <= 1


def test_rows_without_answers_are_refused(tmp_path):
    trainer = runs.pruning(tmp_path, model=tiny.llama())
    empty = [{"input_ids": [5, 6], "labels": [-100, -100]}]
    with pytest.raises(UsageError, match="no held-out row has answer tokens"):
        held_out(trainer, empty)


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "rows").mkdir()
    for split in ("train", "test"):
        text = "".join(json.dumps(row) + "\n" for row in tiny.rows(5))
        (tmp_path / "rows" / f"{split}.jsonl").write_text(text)
    return tmp_path / "rows"


@pytest.mark.slow
def test_the_command_writes_and_shows_all_figures(model, data, rows, tmp_path, capsys):
    out = tmp_path / "figures.json"
    command = ["evaluate", "--model_name_or_path", str(model), "--tasks", "local_boolq"]
    command += ["local_svamp", "--data_dir", str(data), "--dataset_name", str(rows)]
    assert main([*command, "--limit", "1", "--output", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["held_out"]["rows"] == 5
    assert {one["n"] for one in figures["tasks"]} == {1}
    said = capsys.readouterr().out
    for text in ("answer NLL", "calibration", "local_boolq", "strict-match", "standard error"):
        assert text in said


@pytest.mark.slow
def test_an_adapters_folder_is_evaluated_with_its_base(model, rows, tmp_path):
    lora = get_peft_model(tiny.llama(), LoraConfig(r=2, target_modules=["q_proj"]))
    torch.nn.init.normal_(
        lora.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight
    )
    lora.peft_config["default"].base_model_name_or_path = str(model)
    lora.save_pretrained(tmp_path / "adapter")
    found = []
    for name in (tmp_path / "adapter", model):
        out = tmp_path / "figures.json"
        command = ["evaluate", "--model_name_or_path", str(name), "--dataset_name", str(rows)]
        assert main([*command, "--output", str(out)]) == 0
        found.append(json.loads(out.read_text())["held_out"]["nll"])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "local_boolq"], "no model"),
        (["--model_name_or_path", "{model}"], "nothing to evaluate on"),
        (["--model_name_or_path", "{model}", "--tsk", "x"], "unknown option tsk"),
        (["--model_name_or_path", "./none", "--dataset_name", "x"], "no such file or folder"),
        (["--model_name_or_path", "{model}", "--tasks", "local_boolq"], "needs --data_dir"),
        (["--model_name_or_path", "{model}", "--tasks", "no_such"], "unknown task no_such"),
        (
            [
                "--model_name_or_path",
                "{model}",
                "--tasks",
                "local_piqa",
                "--output",
                "./no/folder/x.json",
            ],
            "no folder no/folder",
        ),
    ],
)
def test_bad_arguments(model, capsys, arguments, said):
    assert main(["evaluate", *(one.format(model=model) for one in arguments)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


# The function


def test_the_function_gives_the_commands_figures(model, rows, tmp_path):
    found = qtuning.evaluate(model, rows, bf16=False)
    command = ["evaluate", "--model_name_or_path", str(model), "--dataset_name", str(rows)]
    assert main([*command, "--bf16", "false", "--output", str(tmp_path / "f.json")]) == 0
    told = json.loads((tmp_path / "f.json").read_text())
    assert told == json.loads(json.dumps(found.to_dict()))
    assert found.precision == "float32"


def test_a_model_at_hand_is_evaluated_with_its_tokenizer(model, rows):
    at_hand = Dataset.from_list(tiny.rows(5))
    found = qtuning.evaluate(tiny.llama(), at_hand, tokenizer=tiny.tokenizer(), bf16=False)
    assert found.held_out == qtuning.evaluate(model, rows, bf16=False).held_out
    with pytest.raises(UsageError, match="has its own tokenizer"):
        qtuning.evaluate(model, rows, tokenizer=tiny.tokenizer())
    with pytest.raises(UsageError, match="needs its tokenizer"):
        qtuning.evaluate(tiny.llama(), at_hand)
    with pytest.raises(UsageError, match="nothing to evaluate on"):
        qtuning.evaluate(tiny.llama(), tokenizer=tiny.tokenizer())
