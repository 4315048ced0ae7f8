"""What `qtuning train` trains on, token by token, of rows that other trainers read wrongly."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from .. import talks, tiny
from ..talks import answer, call, result, user

DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}<u>system preset<e>{% endif %}" + tiny.CHAT_TEMPLATE
)
"""A template that puts a system turn before conversations without one."""
TRIMMING = tiny.CHAT_TEMPLATE.replace("m['content']", "m['content'] | trim")
JOINING = tiny.CHAT_TEMPLATE.replace(
    "{{ m['role'] }} {{ m['content'] }}", "{{ m['role'] + ' ' + m['content'] }}"
)
SYSTEM = {"role": "system", "content": "Rhyme"}
IN_WEATHER = {
    "messages": [user("Rome?"), call("weather", city="Rome"), result("9"), answer("9 C")],
    "tools": talks.TOOLS[:1],
}
IN_SUMS = {
    "messages": [user("1+1?"), call("add", a=1, b=1), result("2"), answer("2")],
    "tools": talks.TOOLS[1:],
}


def texts(rows: Any) -> list[str]:
    return [row.text for row in rows]


SYSTEMS = {
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]
    },
    "messages": {"messages": [user("Hi"), answer("Yo")]},
    "prompt": {"prompt": [user("Hi")], "completion": [answer("Yo")]},
    "Alpaca": {"instruction": "Hi", "output": "Yo"},
}


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_system_column_is_the_first_turn_and_no_preset_is(model, train, folder, kind) -> None:
    model(DEFAULT)
    rows = [{**SYSTEMS[kind], "system": text} for text in ("Rhyme", "", None)]
    read = texts(train(talks.write(folder / "d.jsonl", rows))[0])
    said = [text.replace("⟦", "").replace("⟧", "") for text in read]
    talk = "<u>user Hi<e><u>assistant Yo<e>"
    assert said == [f"<u>system {text}<e>{talk}" for text in ("Rhyme", "preset", "preset")]


def test_earlier_turns_of_alpaca_come_before_its_question(model, train, folder) -> None:
    model(tiny.CHAT_TEMPLATE)
    row = {"instruction": "And then?", "input": "", "output": "Tea", "system": "Be brief"}
    rows = [{**row, "history": [["What first?", "Soup"]]}, {**row, "history": []}]
    first, second = texts(train(talks.write(folder / "d.jsonl", rows))[0])
    asked = "<u>user And then?<e><u>assistant ⟦Tea<e>⟧"
    assert first == (f"<u>system Be brief<e><u>user What first?<e><u>assistant Soup<e>{asked}")
    assert second == f"<u>system Be brief<e>{asked}"


def test_roles_of_other_trainers_are_written_as_the_templates_own(model, train, folder) -> None:
    model(talks.TEMPLATE)
    spellings = [("human", "gpt"), ("User", "Assistant"), ("USER", "MODEL"), ("user", "assistant")]
    rows = [
        {"messages": [{"role": ask, "content": "Hi?"}, {"role": say, "content": "Yes"}]}
        for ask, say in spellings
    ]
    read, _ = train(talks.write(folder / "d.jsonl", rows), "--assistant_only_loss", "true")
    assert texts(read) == ["<u>user Hi?<e><u>assistant ⟦Yes<e>⟧"] * 4


@pytest.mark.parametrize("kind", ["file", "model", "own"])
def test_alpaca_takes_the_template_that_the_options_name(model, train, folder, kind) -> None:
    model(tiny.CHAT_TEMPLATE if kind == "own" else None)
    file = folder / "t.jinja"
    file.write_text(tiny.CHAT_TEMPLATE)
    other = tiny.save_model(folder / "other", chat=True)
    option = {"file": ["--chat_template_path", str(file)], "own": []}
    option["model"] = ["--chat_template_path", str(other)]
    data = talks.write(folder / "d.jsonl", [{"instruction": "Say hi", "output": "hi"}] * 2)
    assert texts(train(data, *option[kind])[0]) == ["<u>user Say hi<e><u>assistant ⟦hi<e>⟧"] * 2


@pytest.mark.parametrize("template", [TRIMMING, JOINING], ids=["trimming", "joining"])
def test_parts_of_text_are_joined_before_a_template_sees_them(
    model, train, folder, template
) -> None:
    model(template)
    parts = [{"type": "text", "text": "Yo"}, {"type": "text", "text": " you"}]
    rows = [
        {"prompt": [user("Hi")], "completion": [{"role": "assistant", "content": parts}]},
        {"prompt": [{"role": "user", "content": ["Hi"]}], "completion": [answer("Yo you")]},
    ]
    read, _ = train(talks.write(folder / "d.jsonl", rows))
    assert texts(read) == ["<u>user Hi<e><u>assistant ⟦Yo you<e>⟧"] * 2


def stored(folder: Any, rows: list[dict[str, Any]], kind: str) -> Any:
    """The rows in a file whose columns are structs, where Arrow fills in nulls."""
    table = pa.Table.from_pylist(rows)
    if kind == "saved":
        Dataset(table).save_to_disk(folder / "saved")
        return folder / "saved"
    pq.write_table(table, folder / "d.parquet")
    return folder / "d.parquet"


@pytest.mark.skipif(not talks.ANY_OBJECTS, reason="datasets has no columns of any objects")
@pytest.mark.parametrize("kind", ["parquet", "saved"])
@pytest.mark.parametrize("more", [[], ["--dataset_streaming", "true"]], ids=["whole", "stream"])
def test_calls_and_tools_are_as_in_json_where_arrow_fills_in_nulls(
    model, train, folder, kind, more
) -> None:
    model(talks.TEMPLATE)
    rows = [IN_WEATHER, IN_SUMS]
    only = ["--assistant_only_loss", "true", *more]
    json_rows, _ = train(talks.write(folder / "d.jsonl", rows), *only)
    read, _ = train(stored(folder, rows, kind), *only)
    assert texts(read) == texts(json_rows)
    assert '⟦ call weather {"city": "Rome"}<e>⟧' in read[0].text
    assert "null" not in "".join(texts(read))


def test_rows_of_one_file_are_read_each_by_its_own_keys(model, train, folder) -> None:
    model(tiny.CHAT_TEMPLATE)
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    share = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    for rows in ([said, share], [share, said]):
        data = talks.write(folder / "d.jsonl", [{"conversations": row} for row in rows])
        for more in ([], ["--dataset_streaming", "true"]):
            read = texts(train(data, *more)[0])
            wanted = "<u>user a<e><u>assistant b<e>⟧"
            assert [text.replace("⟦", "") for text in read] == [wanted] * 2


CALLING = {
    "conversations": [
        {"from": "human", "value": "Rome?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
        {"from": "observation", "value": "9"},
        {"from": "gpt", "value": "9 C"},
    ],
    "tools": json.dumps([tool["function"] for tool in talks.TOOLS[:1]]),
}


def test_calls_of_llamafactory_are_those_of_openai(model, train, folder) -> None:
    model(talks.TEMPLATE)
    only = ["--assistant_only_loss", "true"]
    share, _ = train(talks.write(folder / "d.jsonl", [CALLING] * 2), *only)
    openai, _ = train(talks.write(folder / "e.jsonl", [IN_WEATHER] * 2), *only)
    if talks.ANY_OBJECTS:  # else the keys of tools have another order in columns
        assert texts(share) == texts(openai)
    assert "<u>tool 9<e>" in share[0].text
    assert share[0].text.count("⟦") == 2


def test_calls_of_llamafactory_are_text_where_the_template_prints_no_calls(
    model, train, folder
) -> None:
    model(tiny.CHAT_TEMPLATE)
    row = {**CALLING, "tools": ""}
    (read, _), _ = train(talks.write(folder / "d.jsonl", [row] * 2))
    wanted = f"<u>assistant {CALLING['conversations'][1]['value']}<e><u>tool 9<e>"
    assert wanted in read.text.replace("⟦", "")


def test_tokens_in_lists_of_a_fixed_size_are_trained(model, train, folder) -> None:
    model(None)
    ids = pa.array([[40, 41, 42], [43, 44, 45]], pa.list_(pa.int32(), 3))
    labels = pa.array([[-100, 41, 42], [-100, -100, 45]], pa.list_(pa.int32(), 3))
    pq.write_table(pa.table({"input_ids": ids, "labels": labels}), folder / "d.parquet")
    read, _ = train(folder / "d.parquet")
    assert texts(read) == [
        f"{tiny.CHARACTERS[36]}⟦{tiny.CHARACTERS[37]}{tiny.CHARACTERS[38]}⟧",
        f"{tiny.CHARACTERS[39]}{tiny.CHARACTERS[40]}⟦{tiny.CHARACTERS[41]}⟧",
    ]


def test_answers_that_look_like_dates_numbers_or_nothing_are_text(model, train, folder) -> None:
    model(None)
    answers = ["1969-07-20", "NA", "None", "null", "4", "00501", "true", "1e5"]
    rows = [{"prompt": "Q:", "completion": one} for one in answers]
    wanted = [f"Q:⟦{one}<eos>⟧" for one in answers]
    cells = "".join(f"Q:,{one}\n" for one in answers)
    (folder / "d.csv").write_text(f"prompt,completion\n{cells}")
    dates = talks.write(folder / "dates.jsonl", rows[:1] * 3)
    assert texts(train(folder / "d.csv")[0]) == wanted
    assert texts(train(talks.write(folder / "d.jsonl", rows))[0]) == wanted
    assert texts(train(dates)[0]) == wanted[:1] * 3
