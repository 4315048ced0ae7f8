"""Verifiable word problems: reasoning-gym's gsm_symbolic, or a few of our own without it."""

import random
import re
from typing import Any

Row = dict[str, Any]


def make_problems(n: int, seed: int) -> tuple[list[Row], str]:
    """``n`` problems as conversational prompt and completion, and where they come from.

    Each completion ends in ``#### <answer>``; ``answer`` holds the number.
    """
    try:
        import reasoning_gym
    except ImportError:  # one of its dependencies needs a C compiler
        return [_own_problem(random.Random(f"{seed}-{i}"), i) for i in range(n)], "built in"
    problems = reasoning_gym.create_dataset("gsm_symbolic", seed=seed, size=n)
    rows = [
        _row(i, p["question"], p["metadata"]["answer_cot"], p["answer"])
        for i, p in enumerate(problems)
    ]
    return rows, "reasoning-gym, gsm_symbolic"


def is_right(text: str, row: Row) -> bool:
    """Whether a worked solution ends in the right number (else the last number counts)."""
    said = re.findall(r"####\s*\$?(-?[\d,]*\.?\d+)", text) or re.findall(r"-?[\d,]*\.?\d+", text)
    return bool(said) and float(said[-1].replace(",", "")) == float(row["answer"].replace(",", ""))


def _row(number: int, question: str, solution: str, answer: str) -> Row:
    return {
        "id": f"problem-{number}",
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": solution}],
        "answer": answer,
    }


def _own_problem(draw: random.Random, number: int) -> Row:
    name = draw.choice(["Ada", "Ben", "Chen", "Dora", "Emil"])
    thing = draw.choice(["apples", "books", "coins", "pens", "stamps"])
    boxes, each, lost = draw.randint(2, 9), draw.randint(3, 20), draw.randint(1, 5)
    total = boxes * each
    question = (
        f"{name} has {boxes} boxes with {each} {thing} in each, and gives away {lost} {thing}. "
        f"How many {thing} does {name} have left?"
    )
    solution = (
        f"{name} starts with {boxes} * {each} = {total} {thing}.\n"
        f"After giving away {lost}, {name} has {total} - {lost} = {total - lost} {thing}.\n"
        f"#### {total - lost}"
    )
    return _row(number, question, solution, str(total - lost))
