"""`qtuning prune --format llamafactory`: data.jsonl and the entry that says how to read it."""

import json

import pytest
from datasets import load_dataset, load_from_disk

import qtuning
from qtuning.errors import UsageError

from .. import talks
from ..talks import TOOLS, answer, call, result, user

pytestmark = pytest.mark.usefixtures("one_thread")
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
"""The defaults of LLaMA-Factory 0.9.5, by its data/README.md."""
SAID = [("human", "a"), ("gpt", "b")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return talks.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def exported(model, tmp_path):
    """A function from rows to the entry of dataset_info.json, and data.jsonl as datasets reads it.

    LLaMA-Factory reads it by datasets, in a version without columns of JSON.
    """

    def export(rows, **options):
        data = talks.write(tmp_path / "rows.jsonl", rows)
        scored = qtuning.score(data, model, bf16=False, progress=False, **options)
        kept = {"sample_pruner": "full", "sample_ratio": 1.0, "token_ratio": 1.0}
        folder = tmp_path / "out"
        qtuning.prune(scored, output=folder, format="llamafactory", **kept)
        entry = json.loads((folder / "dataset_info.json").read_text())["qtuning"]
        file = folder / entry["file_name"]
        read = load_dataset("json", data_files=str(file), split="train")
        assert "Json" not in repr(read.features)
        assert set(entry["columns"].values()) <= set(read.column_names)
        return entry, list(read)

    return export


def turns(row, entry):
    """The messages of a row as (speaker, text), by the tags that the entry names."""
    tags = entry["tags"]
    assert tags == TAGS
    read = [
        (one[tags["role_tag"]], one[tags["content_tag"]])
        for one in row[entry["columns"]["messages"]]
    ]
    talk = read[1:] if read[0][0] == tags["system_tag"] else read
    for place, (speaker, _) in enumerate(talk):
        ask, say = ("user_tag", "observation_tag"), ("assistant_tag", "function_tag")
        assert speaker in [tags[tag] for tag in (say if place % 2 else ask)]
    assert len(talk) % 2 == 0
    return read


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [user("a"), answer("b")]},
        {"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]},
        {"messages": [{"role": "User", "content": "a"}, {"role": "gpt", "content": "b"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
            ]
        },
    ],
)
def test_any_spelling_is_written_in_the_default_one(exported, row):
    entry, (read,) = exported([{**row, "id": "one"}])
    assert entry["formatting"] == "sharegpt"
    assert entry["columns"] == {"messages": next(iter(row))}
    assert turns(read, entry) == SAID
    assert read["id"] == "one"


@pytest.mark.skipif(not talks.ANY_OBJECTS, reason="TRL takes no tools as text")
def test_the_system_and_the_tools_are_there(exported):
    row = {"conversations": [user("a"), answer("b")], "system": "Sys", "tools": json.dumps(TOOLS)}
    entry, (read, without) = exported([row, {**row, "system": "", "tools": None}])
    assert turns(read, entry) == [("system", "Sys"), *SAID]
    assert json.loads(read[entry["columns"]["tools"]]) == TOOLS
    assert turns(without, entry) == SAID
    assert without["tools"] == ""


def test_calls_of_tools_and_results_have_their_own_tags(exported):
    calls = [call("add", a=1, b=[2]), call("weather", city="Oslo")]
    both = {**calls[0], "tool_calls": [one["tool_calls"][0] for one in calls]}
    rows = [
        {"messages": [user("a"), calls[0], result("3"), answer("b")]},
        {"messages": [user("a"), both]},
    ]
    entry, read = exported(rows)
    first, second = (turns(row, entry) for row in read)
    assert [speaker for speaker, _ in first] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(first[1][1]) == {"name": "add", "arguments": {"a": 1, "b": [2]}}
    assert [one["arguments"] for one in json.loads(second[1][1])] == [
        {"a": 1, "b": [2]},
        {"city": "Oslo"},
    ]


def test_alpaca_rows_stay_with_all_their_columns(exported, caplog):
    row = {"instruction": "a", "input": "i", "output": "b", "system": "Sys"}
    entry, (read, _) = exported(
        [{**row, "history": [["q", "r"]]}, {**row, "input": "", "history": []}]
    )
    assert "tags" not in entry
    assert entry["columns"] == {
        "prompt": "instruction",
        "query": "input",
        "response": "output",
        "system": "system",
        "history": "history",
    }
    assert {name: read[name] for name in row} == row
    assert read["history"] == [["q", "r"]]
    assert "mask_history: true" in caplog.text


def test_a_prompt_of_turns_is_one_that_alpaca_has(exported, caplog):
    """As messages, all of its answers would be trained."""
    prompt = [{"role": "system", "content": "Sys"}, user("q"), answer("r"), user("a")]
    short = {"prompt": [user("a")], "completion": [answer("b")]}
    entry, (read, other) = exported([{"prompt": prompt, "completion": [answer("b")]}, short])
    said = {key: read[name] for key, name in entry["columns"].items()}
    assert said == {"prompt": "a", "response": "b", "system": "Sys", "history": [["q", "r"]]}
    assert (other["system"], other["history"]) == ("", [])
    assert "answers within prompts were not scored" in caplog.text


def test_a_prompt_with_calls_of_tools_becomes_messages(exported, caplog):
    row = {"prompt": [user("a"), call("add", a=1), result("1")], "completion": [answer("b")]}
    entry, (read,) = exported([row])
    assert [speaker for speaker, _ in turns(read, entry)][1:3] == ["function_call", "observation"]
    assert "mask_history: true" in caplog.text


@pytest.mark.parametrize(
    ("misfit", "why"),
    [
        ([user("a"), answer("b"), user("c")], "does not end with an answer"),
        ([user("a"), user("b"), answer("c")], "message 2 is from human"),
        ([user("a"), {**call("add", a=1), "content": "Let me see"}], "message 2 has text beside"),
        ([user("a"), {**answer("b"), "thinking": "so"}], "message 2 has thinking"),
        ([user("a"), call("add", a=1), result("1"), result("2"), answer("b")], "message 4 is from"),
    ],
)
def test_rows_that_do_not_fit_are_told_and_are_in_the_tokens(
    exported, caplog, tmp_path, misfit, why
):
    # Thoughts are refused where the template does not print them.
    thinking = talks.TEMPLATE.replace("{% generation %}", "{% generation %}{{ m['thinking'] }}")
    (tmp_path / "t.jinja").write_text(thinking)
    rows = [{"messages": [user("a"), answer("b")]}, {"messages": misfit}]
    entry, read = exported(rows, chat_template_path=str(tmp_path / "t.jinja"))
    assert [turns(row, entry) for row in read] == [SAID]
    (told,) = [one.message for one in caplog.records if "LLaMA-Factory" in one.message]
    assert "1 of 2 kept rows" in told
    assert f"kept row 2: {why}" in told or f"kept row 2: it {why}" in told
    assert "tokenized_path" in told
    assert load_from_disk(str(tmp_path / "out" / "tokenized"))["train"].num_rows == 2


def test_nothing_is_told_where_all_fits(exported, caplog, tmp_path):
    exported([{"messages": [user("a"), answer("b")]}])
    assert not [one for one in caplog.records if "LLaMA-Factory" in one.message]
    assert not (tmp_path / "out" / "tokenized").exists()


def test_plain_text_is_refused(exported):
    with pytest.raises(UsageError, match="neither conversations nor prompts and answers"):
        exported([{"text": "a"}])
