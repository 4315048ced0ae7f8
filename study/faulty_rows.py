"""Rows with faults injected by seed, for ``study/faults.py``: which data, and which faults.

A row is a conversation whose answers are known: ``turns``, a list of (role, text), and ``answers``,
the places of the turns that are trained on. A fault replaces one turn.
"""

import functools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PREPARED = ROOT / "../shared/data"
"""Folder of the data sets of the other studies, as JSON Lines of prompt and completion."""
FETCHED = ROOT / "runs/faults/data"
"""Folder of files of public repositories, see ``study/faults.py``."""
SEEDS = (0, 1)
SHARE = 0.3
"""Share of the rows that have the fault; the first third of them are the fault's 10%."""


class Row(NamedTuple):
    """A row without faults.

    Attributes:
        name: Its id.
        turns: Role and text of each turn.
        answers: Places of the turns that are trained on.
        meta: What else is known of it.
    """

    name: str
    turns: tuple[tuple[str, str], ...]
    answers: tuple[int, ...]
    meta: Mapping[str, Any] = {}

    @property
    def prompt(self) -> str:
        """The text before the last answer."""
        return " ".join(text for _, text in self.turns[: self.answers[-1]])

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.turns[self.answers[-1]][1]

    def with_answer(self, text: str, place: int = -1) -> "Row":
        """The row with the text of an answer replaced, by default of the last one."""
        turn = self.answers[place]
        turns = list(self.turns)
        turns[turn] = (turns[turn][0], text)
        return self._replace(turns=tuple(turns))


Fault = Callable[[Row, Sequence[Row], random.Random], Row | None]
"""Makes a faulty row of a row, of all rows of the data, and of draws; None if it cannot."""


class Setting(NamedTuple):
    """A data set, and the faults that are injected into it.

    Attributes:
        rows: Reads its rows.
        n: Number of rows of the measurement.
        faults: The faults by name.
        longest: Largest number of characters of a row, about four a token.
    """

    rows: Callable[[], Iterator[Row]]
    n: int
    faults: Mapping[str, Fault]
    longest: int = 1100


# Faults


def exchanged(row: Row, rows: Sequence[Row], draw: random.Random) -> Row | None:
    """The last answer of another row."""
    return _other(row, rows, draw, -1)


def exchanged_call(row: Row, rows: Sequence[Row], draw: random.Random) -> Row | None:
    """The call of a function in place of another call; the turns after it stay."""
    calls = [i for i, turn in enumerate(row.answers) if row.turns[turn][1].startswith("{")]
    if not calls:
        return None
    place = draw.choice(calls)
    texts = [
        other.turns[turn][1]
        for other in rows
        for turn in other.answers
        if other.turns[turn][1].startswith("{")
    ]
    own = row.turns[row.answers[place]][1]
    return row.with_answer(draw.choice([text for text in texts if text != own]), place)


def similar(row: Row, rows: Sequence[Row], draw: random.Random) -> Row | None:
    """The answer to the prompt that is most alike in words: fluent, on the subject, and wrong."""
    weight = _weights(rows)
    words = _words(row.prompt)
    others = [other for other in rows if other.answer != row.answer]

    def likeness(other: Row) -> float:
        theirs = _words(other.prompt)
        both = sum(weight[word] for word in words & theirs)
        return both / sum(weight[word] for word in words | theirs)

    return row.with_answer(max(others, key=likeness).answer)


def cut(row: Row, rows: Sequence[Row], draw: random.Random) -> Row | None:
    """The first 30 to 70% of the answer's words, of at least 8."""
    ends = [match.end() for match in re.finditer(r"\S+", row.answer)]
    if len(ends) < 8:
        return None
    return row.with_answer(row.answer[: ends[round(len(ends) * draw.uniform(0.3, 0.7))]])


def wrong_number(row: Row, rows: Sequence[Row], draw: random.Random) -> Row | None:
    """Another final number, wherever it stands in the answer: off by 1, by 10, or by half."""
    final = re.search(r"#### (-?[\d.,]+)$", row.answer)
    if final is None or not re.fullmatch(r"-?\d+", final[1]):
        return None
    value = int(final[1])
    changes = {1, -1, 10, -10, max(2, abs(value) // 2)}
    new = value + draw.choice(sorted(change for change in changes if value + change >= 0))
    number = rf"(?<![\d.,]){re.escape(final[1])}(?![\d]|[.,]\d)"
    return row.with_answer(re.sub(number, str(new), row.answer))


def in_german(row: Row, rows: Sequence[Row], draw: random.Random) -> Row | None:
    """The right answer in German, where that is another text."""
    other = row.meta["german"]
    return None if other.lower() == row.answer.lower() else row.with_answer(other)


def rejected(row: Row, rows: Sequence[Row], draw: random.Random) -> Row | None:
    """The answer of a weaker model that was rejected beside this one."""
    return row.with_answer(row.meta["rejected"])


def _other(row: Row, rows: Sequence[Row], draw: random.Random, place: int) -> Row:
    texts = [other.turns[other.answers[place]][1] for other in rows if other.name != row.name]
    own = row.turns[row.answers[place]][1]
    return row.with_answer(draw.choice([text for text in texts if text != own]), place)


@functools.cache
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def _weights(rows: Sequence[Row]) -> Mapping[str, float]:
    """How rare words are, over the prompts of rows."""
    counts = Counter(word for row in rows for word in _words(row.prompt))
    return {word: math.log(1 + len(rows) / n) for word, n in counts.items()}


# Data


def prepared(name: str) -> Callable[[], Iterator[Row]]:
    """Reads a data set of prompts and completions by its name."""

    def read() -> Iterator[Row]:
        for line in (PREPARED / name / "train.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            turns = (("user", row["prompt"]), ("assistant", row["completion"]))
            yield Row(row["id"], turns, (1,), row["meta"])

    return read


def _fetched(name: str) -> Any:
    return json.loads((FETCHED / name).read_text(encoding="utf-8"))


def code() -> Iterator[Row]:
    """Reads instructions for code and their answers."""
    for i, row in enumerate(_fetched("code_alpaca_2k.json")):
        prompt = "\n\n".join(filter(None, (row["instruction"], row["input"])))
        yield Row(f"code-{i}", (("user", prompt), ("assistant", row["output"])), (1,))


def questions() -> Iterator[Row]:
    """Reads questions on a passage in English; ``meta`` has the answer in German."""
    german = {
        question["id"]: question["answers"][0]["text"]
        for article in _fetched("xquad.de.json")["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    for article in _fetched("xquad.en.json")["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                prompt = f"{paragraph['context']}\n\n{question['question']}"
                turns = (("user", prompt), ("assistant", question["answers"][0]["text"]))
                yield Row(question["id"], turns, (1,), {"german": german[question["id"]]})


_ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}


def agents() -> Iterator[Row]:
    """Reads conversations of several turns, half of them with calls of functions."""
    for i, row in enumerate(_fetched("glaive_toolcall_en_demo.json")):
        turns = [(_ROLES[turn["from"]], turn["value"]) for turn in row["conversations"]]
        tools = row.get("tools")
        if tools and tools != "[]":
            turns.insert(0, ("system", f"You can call these functions: {tools}"))
        answers = tuple(i for i, (role, _) in enumerate(turns) if role == "assistant")
        yield Row(f"agent-{i}", tuple(turns), answers)


def preferences() -> Iterator[Row]:
    """Reads prompts with a chosen answer; ``meta`` has the rejected one."""
    for i, row in enumerate(_fetched("dpo_en_demo.json")):
        turns = [({"system": "system"} | _ROLES)[turn["from"]] for turn in row["conversations"]]
        texts = [turn["value"] for turn in row["conversations"]]
        pairs = (*zip(turns, texts, strict=True), ("assistant", row["chosen"]["value"]))
        yield Row(f"dpo-{i}", pairs, (len(turns),), {"rejected": row["rejected"]["value"]})


WORDS: Mapping[str, Fault] = {"exchanged": exchanged, "similar": similar, "cut": cut}
SETTINGS = {
    "alpaca": Setting(prepared("alpaca"), 160, WORDS),
    "code": Setting(code, 160, WORDS),
    "gsm8k": Setting(prepared("gsm8k"), 100, {**WORDS, "wrong number": wrong_number}),
    "mawps": Setting(
        prepared("mawps"),
        200,
        {"exchanged": exchanged, "similar": similar, "wrong number": wrong_number},
    ),
    "xquad": Setting(questions, 100, {"exchanged": exchanged, "in German": in_german}),
    "agents": Setting(agents, 80, {"exchanged": exchanged, "exchanged call": exchanged_call}),
    "preferences": Setting(
        preferences, 80, {"exchanged": exchanged, "rejected": rejected}, longest=1800
    ),
}
"""The settings by name."""
FLAGS = {"claude_t45": 70, "helpful_t45": 50, "cherry5": 50}
"""Outside flags of alpaca's rows, and how many rows that have them are added to 160 random ones."""


def rows_of(setting: Setting) -> tuple[list[Row], list[Row]]:
    """The rows of a measurement, and all rows that are short enough, of which faults draw."""
    short = [
        row
        for row in setting.rows()
        if sum(len(text) for _, text in row.turns) <= setting.longest
        and len(row.meta.get("rejected", "")) <= setting.longest
    ]
    return random.Random(0).sample(short, min(setting.n, len(short))), short


def faulty(rows: Sequence[Row], short: Sequence[Row], fault: Fault, seed: int) -> dict[str, Row]:
    """Faulty versions of a share of the rows, by name, in an order of draws.

    Args:
        rows: The rows of the measurement.
        short: All rows of the data.
        fault: The fault.
        seed: Seed of the draws.
    """
    draw = random.Random(seed)
    order = draw.sample(rows, len(rows))
    made: dict[str, Row] = {}
    for row in order:
        if len(made) == round(SHARE * len(rows)):
            break
        new = fault(row, short, random.Random(f"{seed} {row.name}"))
        if new is not None and new.turns != row.turns:
            made[row.name] = new
    return made


def flagged() -> list[Row]:
    """The added rows of alpaca that have one of the outside flags."""
    _, short = rows_of(SETTINGS["alpaca"])
    chosen: dict[str, Row] = {}
    for flag, n in FLAGS.items():
        having = [row for row in short if row.meta[flag]]
        chosen |= {row.name: row for row in random.Random(0).sample(having, n)}
    return list(chosen.values())
