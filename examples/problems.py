"""Verifiable word problems of three kinds, drawn by a seed, with worked solutions."""

import random
import re
from typing import Any, NamedTuple

Row = dict[str, Any]

NAMES = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fay")
THINGS = ("apples", "books", "coins", "pens", "shells", "stamps")
# In place of the chat template's own system message, which is longer than a problem.
TASK = "Solve the problem."


class Draw(NamedTuple):
    """What a problem is about; small numbers, so that the steps are what there is to learn."""

    name: str
    things: str
    groups: int
    each: int
    few: int


def make_problems(n: int, seed: int) -> list[Row]:
    """``n`` problems as conversational prompt and completion, the same for the same seed.

    Each completion ends in ``#### <answer>``; ``answer`` holds the number.
    """
    return [_problem(random.Random(f"{seed}-{number}"), number) for number in range(n)]


def train_and_held_out(n_train: int, n_held_out: int) -> tuple[list[Row], list[Row]]:
    """The demo's problems, the same in all of its processes."""
    return make_problems(n_train, seed=0), make_problems(n_held_out, seed=1)


def is_right(text: str, row: Row) -> bool:
    """Whether a worked solution ends in the right number (else the last number counts)."""
    said = re.findall(r"####\s*\$?(-?[\d,]*\.?\d+)", text) or re.findall(r"-?[\d,]*\.?\d+", text)
    return bool(said) and float(said[-1].replace(",", "")) == float(row["answer"].replace(",", ""))


def _problem(draw: random.Random, number: int) -> Row:
    kind = draw.choice((_give_away, _find, _buy))
    drawn = Draw(
        name=draw.choice(NAMES),
        things=draw.choice(THINGS),
        groups=draw.randint(2, 9),
        each=draw.randint(2, 9),
        few=draw.randint(1, 3),
    )
    question, steps, answer = kind(drawn)
    return {
        "id": f"problem-{number}",
        "prompt": [
            {"role": "system", "content": TASK},
            {"role": "user", "content": question},
        ],
        "completion": [{"role": "assistant", "content": f"{steps}\n#### {answer}"}],
        "answer": str(answer),
    }


def _give_away(d: Draw) -> tuple[str, str, int]:
    total = d.groups * d.each
    left = total - d.few
    question = (
        f"{d.name} has {d.groups} boxes of {d.each} {d.things} and gives away {d.few}. "
        "How many are left?"
    )
    steps = (
        f"{d.groups} * {d.each} = {total} {d.things} in the boxes.\n"
        f"{total} - {d.few} = {left} are left."
    )
    return question, steps, left


def _find(d: Draw) -> tuple[str, str, int]:
    found = d.groups * d.each
    total = found + d.few
    question = (
        f"{d.name} finds {d.each} {d.things} a day for {d.groups} days, then {d.few} more. "
        "How many in all?"
    )
    steps = (
        f"{d.groups} * {d.each} = {found} {d.things} in {d.groups} days.\n"
        f"{found} + {d.few} = {total} in all."
    )
    return question, steps, total


def _buy(d: Draw) -> tuple[str, str, int]:
    price = d.groups * d.each
    total = price + d.few
    question = (
        f"{d.name} buys {d.groups} {d.things} for {d.each} euros each and a bag for {d.few}. "
        "How many euros is that?"
    )
    steps = (
        f"{d.groups} * {d.each} = {price} euros for the {d.things}.\n"
        f"{price} + {d.few} = {total} with the bag."
    )
    return question, steps, total
