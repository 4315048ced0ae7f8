"""What is refused: one line that names the row and says what to do, exit code 2, no traceback."""

import json

import pytest
from transformers import AutoTokenizer, TrainingArguments

from qtuning.commands import installed

from .. import talks, tiny
from ..talks import answer, call, user

PAIRS = [{"prompt": "a", "completion": "b"}] * 4
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<u>{{ m['role'] }} {{ m['content'] }}<e>{% endfor %}"
)
"""A template that refuses system turns and two turns of one speaker in a row."""


@pytest.mark.parametrize("verb", ["train", "score"])
def test_tokens_that_the_embeddings_lack_are_named_before_the_model_runs(
    folder, refusal, verb
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    tokenizer.add_tokens(["Zz", "Yy"])
    tokenizer.save_pretrained(folder / "model")
    data = talks.write(folder / "d.jsonl", [*PAIRS, {"prompt": "a", "completion": "Yy"}])
    said = refusal(data, verb=verb)
    assert "input_ids has 100, and the model has 100 tokens" in said
    assert "resize" in said


@pytest.mark.parametrize("roles", [["user"], ["user", "narrator"]], ids=" ".join)
def test_a_row_without_an_assistant_turn_is_named(model, folder, refusal, roles) -> None:
    model(talks.TEMPLATE)
    bad = [{"role": role, "content": "x"} for role in roles]
    rows = [{"messages": [user("a"), answer("b")]}] * 3 + [{"messages": bad}]
    said = refusal(talks.write(folder / "d.jsonl", rows), "--assistant_only_loss", "true")
    why = "has no assistant turn" if len(roles) == 1 else "message 2 is from 'narrator'"
    assert f"d.jsonl [train], row 4: messages {why}" in said


@pytest.mark.parametrize("weight", [{"weight": 0}, {"train": False}, {"loss": False}], ids=str)
def test_turns_that_are_not_to_be_trained_are_not(model, folder, train, weight) -> None:
    model(talks.TEMPLATE)
    turns = [user("a"), {**answer("wrong"), **weight}, user("b"), answer("right")]
    data = talks.write(folder / "d.jsonl", [{"messages": turns}] * 2)
    rows, _ = train(data, "--assistant_only_loss", "true")
    texts = [row.text.replace("⟦", "").replace("⟧", "") for row in rows]
    assert texts == ["<u>user a<e><u>assistant wrong<e><u>user b<e><u>assistant right<e>"] * 2
    assert [row.text.partition("⟦")[2] for row in rows] == ["right<e>⟧"] * 2


BAD_WEIGHTS = [
    ({"messages": [user("a"), {**answer("b"), "weight": -1}]}, "message 2 has weight -1, and a"),
    ({"messages": [user("a"), {**answer("b"), "train_detail": [{}]}]}, "message 2 has train_det"),
    ({"text": "a", "loss_weight": -0.5}, "loss_weight is -0.5, and a weight is a finite number"),
    ({"text": "a", "weight": 0.5}, "weight is read in messages alone: call the weight of a row"),
]


@pytest.mark.parametrize("verb", ["train", "score"])
@pytest.mark.parametrize(("row", "said"), BAD_WEIGHTS, ids=[said for _, said in BAD_WEIGHTS])
def test_bad_weights_are_told_by_row_before_the_model_is_loaded(
    model, folder, refusal, monkeypatch, row, said, verb
) -> None:
    model(talks.TEMPLATE)
    if verb == "train":
        monkeypatch.setattr("qtuning.commands.train.load_causal_lm", pytest.fail)
    assert said in refusal(talks.write(folder / "d.jsonl", [row]), verb=verb)


def test_data_out_of_the_loss_are_refused_before_the_model_is_loaded(
    model, folder, refusal, monkeypatch
) -> None:
    model(talks.TEMPLATE)
    monkeypatch.setattr("qtuning.commands.train.load_causal_lm", pytest.fail)
    rows = [{"messages": [user("a"), {**answer("b"), "train": False}]}] * 2
    said = refusal(talks.write(folder / "d.jsonl", rows), "--assistant_only_loss", "true")
    assert "d.jsonl [train]: all that would be trained has weight 0" in said


@pytest.mark.parametrize("prints", [False, True])
def test_thoughts_under_a_template_that_does_not_print_them_are_refused(
    model, folder, refusal, prints
) -> None:
    template = talks.TEMPLATE
    if prints:
        template = template.replace("m['content']", "m['thinking'] | default('') + m['content']")
    model(template)
    rows = [{"messages": [user("a"), {**answer("b"), "thinking": "hm"}]}] * 2
    # The other thing that is wrong, so that nothing is trained.
    rows.append({"messages": [{"role": "narrator", "content": "x"}]})
    said = refusal(talks.write(folder / "d.jsonl", rows))
    why = (
        "row 3: messages message 1 is from" if prints else "row 1: messages message 2 has thinking"
    )
    assert why in said


MISSING = [
    (["--report_to", "mlflow"], "--report_to mlflow: its package is not installed"),
    (["--optim", "grokadamw"], "the package grokadamw is not installed"),
    (["--chat_template_path", "nope.jinja"], "chat_template_path nope.jinja: No such file"),
    (["--lora_target_modules", "nope", "--use_peft"], "nope"),
]


@pytest.mark.parametrize(("options", "said"), MISSING, ids=[said for _, said in MISSING])
def test_packages_files_and_modules_that_are_not_there(
    folder, refusal, monkeypatch, options, said
) -> None:
    monkeypatch.setattr(installed, "get_available_reporting_integrations", list)
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    assert said in refusal(talks.write(folder / "d.jsonl", PAIRS), *options)


def test_calls_that_the_template_does_not_print_are_refused_not_lost(
    model, folder, refusal
) -> None:
    model(tiny.CHAT_TEMPLATE)
    for content in (None, ""):
        turns = [user("a"), {**call("add", a=1), "content": content}]
        rows = [{"messages": [user("a"), answer("b")]}, {"messages": turns}]
        said = refusal(talks.write(folder / "d.jsonl", rows))
        assert "row 2: messages message 2 calls a tool, which the chat template does not" in said


@pytest.mark.parametrize("verb", ["train", "score"])
@pytest.mark.parametrize("begin", [[{"role": "system", "content": "s"}], [user("q")]], ids=str)
@pytest.mark.parametrize("more", [[], ["--dataset_streaming", "true"]], ids=["whole", "stream"])
def test_a_template_that_raises_is_told_with_the_row(
    model, folder, refusal, verb, begin, more
) -> None:
    model(STRICT)
    rows = [[user("a"), answer("b")], [*begin, user("a"), answer("b")]]
    data = talks.write(folder / "d.jsonl", [{"messages": turns} for turns in rows])
    said = refusal(data, *more, verb=verb)
    assert "d.jsonl [train], row 2: cannot be made ready" in said
    assert "Roles must alternate" in said


@pytest.mark.skipif(
    "warmup_ratio" in TrainingArguments.__dataclass_fields__, reason="it is there still"
)
def test_an_option_that_transformers_has_renamed_is_told_by_its_new_name(folder, refusal) -> None:
    data = talks.write(folder / "d.jsonl", PAIRS)
    said = refusal(data, "--warmup_ratio", "0.1")
    assert "warmup_steps" in said
    assert "sample_ratio" not in said


def test_one_module_for_adapters_is_the_name_of_modules(folder, train) -> None:
    data = talks.write(folder / "d.jsonl", PAIRS)
    rows, _ = train(data, "--use_peft", "--lora_target_modules", "q_proj")
    assert len(rows) == 4


def test_messages_as_json_text_in_cells_are_read(model, folder, train) -> None:
    model(tiny.CHAT_TEMPLATE)
    cell = json.dumps([user("a"), answer("b, c")]).replace('"', '""')
    (folder / "d.csv").write_text(f'messages\n"{cell}"\n"{cell}"\n')
    rows, _ = train(folder / "d.csv")
    assert [row.text.replace("⟦", "") for row in rows] == ["<u>user a<e><u>assistant b, c<e>⟧"] * 2
