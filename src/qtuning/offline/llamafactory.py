"""Kept rows in the formats of LLaMA-Factory, and the entry of ``dataset_info.json`` for them.

Conversations in any spelling are written in its default ShareGPT form, where calls of tools and the
tools are JSON text: its loader would fill up objects of differing keys with nulls. Conversations
split into prompt and completion are written in its Alpaca form if all of them fit, so that they
stay split.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from datasets import Dataset

from ..errors import UsageError
from ..examples.token_weights import has_weights
from ..io.arrow_rows import holds_objects, rows_of, write_jsonl
from ..io.formats import find_format
from ..io.rows import ALPACA, TALKS, Row, RowReader
from ..io.turns import THOUGHTS, Turn
from ..io.weights import MESSAGE_WEIGHTS
from .flags import dropped_in

_WHERE = "the scored rows"
_SPEAKERS = {"user": "human", "assistant": "gpt", "tool": "observation"}
_TAGS = {
    **{"role_tag": "from", "content_tag": "value", "system_tag": "system"},
    **{"user_tag": "human", "assistant_tag": "gpt"},
    **{"observation_tag": "observation", "function_tag": "function_call"},
}
_ALTERNATING = (("human", "observation"), ("gpt", "function_call"))
# What templates print beside the content, and the form has no place for.
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_ALPACA |= {"system": "system", "history": "history"}
# Columns that a reader of the file would take for the sample.
_TAKEN = {*TALKS, *_ALPACA.values(), "tools", "prompt", "completion", "text"}


class Written(NamedTuple):
    """What there is to know of the rows that were written.

    Attributes:
        entry: The entry of ``dataset_info.json``, but for the name of the file.
        misfits: Why rows are not in the file; None if all are there.
        lost: What the file cannot hold of its rows; None for nothing.
        hint: What else to set in LLaMA-Factory; None for nothing.
    """

    entry: dict[str, Any]
    misfits: str | None
    lost: str | None
    hint: str | None


class _Misfit(Exception):
    """Why a row does not fit into a form."""


class _Form(NamedTuple):
    """A form of LLaMA-Factory.

    Attributes:
        entry: The entry of ``dataset_info.json``.
        of: The form of a row, given its columns and number; raises ``_Misfit``.
    """

    entry: dict[str, Any]
    of: Callable[[Row, int], Row]


def write_for_llamafactory(table: pa.Table, path: Path, text_field: str) -> Written:
    """Write the rows that fit into LLaMA-Factory's format.

    Args:
        table: The rows.
        path: The JSON Lines file to write.
        text_field: TRL's ``dataset_text_field`` of the scores.

    Raises:
        UsageError: The rows are neither conversations nor prompts and answers.
    """
    reader = _reader(table, text_field)
    form = _form(table, reader)
    misfits: list[str] = []
    write_jsonl(_rows(table, reader, form, misfits), path)
    told = lost = hint = None
    weighs = has_weights(Dataset(table.replace_schema_metadata()))
    n_weighed = sum(map(_is_weighed, _read(table, reader))) if weighs else 0
    if n_weighed:
        lost = (
            f"{n_weighed:,} of {table.num_rows:,} kept rows have weights other than 0 and 1, which "
            "LLaMA-Factory's format has no place for: there they weigh 1; the format trl keeps them"
        )
    if misfits:
        told = (
            f"{len(misfits):,} of {table.num_rows:,} kept rows do not fit into LLaMA-Factory's "
            f"format and are not in {path.name} ({misfits[0]}); tokenized/ has all of them: name "
            "it as tokenized_path, beside dataset: qtuning"
        )
    if reader.names[0] not in TALKS and any(map(_answers_in_prompt, _read(table, reader))):
        hint = (
            "answers within prompts were not scored, and LLaMA-Factory trains them unless its "
            "config says mask_history: true"
        )
    return Written(form.entry, told, lost, hint)


def _reader(table: pa.Table, text_field: str) -> RowReader:
    """The reader of the rows, as for training.

    Raises:
        UsageError: The rows are neither conversations nor prompts and answers.
    """
    names = find_format(table.column_names, _WHERE, text_field)
    if names in (("input_ids",), (text_field,)):
        raise UsageError(
            "--format llamafactory: the rows are neither conversations nor prompts and answers"
        )
    first = next(rows_of(table.slice(0, 1)), {})
    talk = names[0] in TALKS or isinstance(first.get(names[0]), list)
    return RowReader(names, tuple(table.column_names), _WHERE, chat=True, talk=talk)


def _read(table: pa.Table, reader: RowReader) -> Iterator[Row]:
    for index, row in enumerate(rows_of(table.select(reader.reads))):
        yield reader(row, index)


def _form(table: pa.Table, reader: RowReader) -> _Form:
    """The form of the rows: their own if it is Alpaca, else that if all fit, else ShareGPT."""
    if reader.names == ALPACA:
        columns = {key: name for key, name in _ALPACA.items() if name in reader.reads}
        return _Form({"columns": columns}, lambda row, index: row)
    if not reader.talk:
        columns = {"prompt": "prompt", "response": "completion"}
        return _Form({"columns": columns}, lambda row, index: row)
    if reader.names[0] not in TALKS and all(map(_is_alpaca, _read(table, reader))):
        columns = {key: name for key, name in _ALPACA.items() if key != "query"}
        return _Form({"columns": columns}, lambda row, index: _as_alpaca(reader(row, index)))
    name = reader.names[0] if reader.names[0] in TALKS else "conversations"
    columns = {"messages": name, **({"tools": "tools"} if "tools" in reader.reads else {})}
    entry = {"formatting": "sharegpt", "columns": columns, "tags": _TAGS}
    return _Form(entry, lambda row, index: _as_sharegpt(reader(row, index), name))


def _rows(table: pa.Table, reader: RowReader, form: _Form, misfits: list[str]) -> Iterator[Row]:
    """The rows in a form, with their other columns but for objects; the misfits are told."""
    others = [
        field.name
        for field in table.schema
        if field.name not in _TAKEN and not holds_objects(field.type)
    ]
    for index, row in enumerate(rows_of(table)):
        dropped = dropped_in(row)
        try:
            if dropped:
                raise _Misfit(f"turn {min(dropped)} was dropped, and others were kept")
            made = form.of({name: row[name] for name in reader.reads}, index)
        except (_Misfit, UsageError) as why:
            misfits.append(f"kept row {index + 1}: {why}")
        else:
            yield {**made, **{name: row[name] for name in others}}


def _is_weighed(row: Row) -> bool:
    """Whether a row has weights that are neither 0 nor 1."""
    return any(weight not in (0.0, 1.0) for weight in row.get(MESSAGE_WEIGHTS, ()))


def _answers_in_prompt(row: Row) -> bool:
    """Whether the prompt of a row has turns of the assistant."""
    prompt = row.get("prompt")
    return isinstance(prompt, list) and any(turn["role"] == "assistant" for turn in prompt)


def _is_alpaca(row: Row) -> bool:
    """Whether a row is questions and answers in text alone, after a text of the system if any."""
    prompt = row["prompt"]
    if prompt[0]["role"] == "system" and prompt[0]["content"]:
        prompt = prompt[1:]
    turns = [*prompt, *row["completion"]]
    roles = [turn["role"] for turn in turns]
    return (
        len(row["completion"]) == 1
        and roles == ["user", "assistant"] * (len(turns) // 2)
        and all(turn.keys() == {"role", "content"} for turn in turns)
        and not row.get("tools")
    )


def _as_alpaca(row: Row) -> Row:
    """A row as instruction, output, system and history."""
    texts = [turn["content"] for turn in (*row["prompt"], *row["completion"])]
    system = texts.pop(0) if len(texts) % 2 else ""
    *earlier, instruction, output = texts
    history = [list(pair) for pair in zip(earlier[::2], earlier[1::2], strict=True)]
    return {"instruction": instruction, "output": output, "system": system, "history": history}


def _as_sharegpt(row: Row, name: str) -> Row:
    """A row as messages of a speaker and a text in the column ``name``, and the tools as text.

    Raises:
        _Misfit: A message is not text alone, or questions and answers do not alternate.
    """
    turns = row["messages"] if "messages" in row else [*row["prompt"], *row["completion"]]
    messages = [_message(turn, number) for number, turn in enumerate(turns, 1)]
    weights = row.get(MESSAGE_WEIGHTS, [1.0])
    for number, (weight, turn) in enumerate(zip(weights, turns, strict=False), 1):
        if weight == 0 and turn["role"] == "assistant" and len(weights) > 1:
            raise _Misfit(f"message {number} has weight 0")
    start = int(messages[0]["from"] == "system")
    for place, message in enumerate(messages[start:]):
        if message["from"] not in _ALTERNATING[place % 2]:
            raise _Misfit(
                f"message {start + place + 1} is from {message['from']}, and questions and answers "
                "must alternate"
            )
    if (len(messages) - start) % 2 or start == len(messages):
        raise _Misfit("it does not end with an answer")
    tools = {"tools": row["tools"] or ""} if "tools" in row else {}
    return {name: messages, **tools}


def _message(turn: Turn, number: int) -> dict[str, str]:
    """A message of the ShareGPT form.

    Raises:
        _Misfit: It has something beside its text, or beside its calls of tools.
    """
    thoughts = [key for key in THOUGHTS if turn.get(key)]
    if thoughts:
        raise _Misfit(f"message {number} has {thoughts[0]}")
    if "tool_calls" not in turn:
        speaker = _SPEAKERS.get(turn["role"], "system")
        return {"from": speaker, "value": turn["content"]}
    if turn["content"]:
        raise _Misfit(f"message {number} has text beside its calls of tools")
    functions = [call["function"] for call in turn["tool_calls"]]
    calls = [{"name": one["name"], "arguments": one["arguments"]} for one in functions]
    value = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    return {"from": "function_call", "value": value}
