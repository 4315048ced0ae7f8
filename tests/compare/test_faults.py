"""The measurement of docs/suspects.md: its faults, its figures, and its tables."""

import importlib
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from .. import tiny

STUDY = Path(__file__).parents[2] / "study"


@pytest.fixture(scope="module", autouse=True)
def _study_can_be_imported():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUDY)
        yield
    for name in ("faults", "faulty_rows", "detectors"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def made():
    return importlib.import_module("faulty_rows")


@pytest.fixture(scope="module")
def detectors():
    return importlib.import_module("detectors")


@pytest.fixture(scope="module")
def faults():
    return importlib.import_module("faults")


@pytest.fixture
def rows(made):
    def row(i: int, prompt: str, answer: str):
        return made.Row(f"r{i}", (("user", prompt), ("assistant", answer)), (1,))

    return [
        row(0, "How many apples has Tom?", "3 + 4 = 7\n#### 7"),
        row(1, "How many apples has Ann?", "17 - 7 = 10\n#### 10"),
        row(2, "Name a river in France.", "The Seine is a river that flows through all of Paris."),
    ]


# Faults


def test_the_same_seed_makes_the_same_faults_of_a_share_of_the_rows(made, rows) -> None:
    many = [row._replace(name=f"{row.name}.{i}") for i in range(10) for row in rows]
    one, same, other = (made.faulty(many, rows, made.exchanged, seed) for seed in (0, 0, 1))
    assert list(one) == list(same)
    assert one == same
    assert list(one) != list(other)
    assert len(one) == len(other) == 9
    texts = {row.answer for row in rows}
    for name, row in one.items():
        before = next(r for r in many if r.name == name)
        assert row.answer in texts - {before.answer}
        assert row.prompt == before.prompt


def test_the_most_similar_prompt_lends_its_answer(made, rows) -> None:
    assert made.similar(rows[0], rows, random.Random(0)).answer == rows[1].answer


def test_an_answer_is_cut_in_the_middle(made, rows) -> None:
    for seed in range(20):
        answer = made.cut(rows[2], rows, random.Random(seed)).answer
        assert rows[2].answer.startswith(answer)
        assert 3 <= len(answer.split()) <= 9 < len(rows[2].answer.split())
    assert (
        made.cut(rows[0]._replace(turns=(("user", "a"), ("assistant", "b c"))), rows, None) is None
    )


def test_a_final_number_is_wrong_wherever_it_stands(made, rows) -> None:
    for seed in range(20):
        new = made.wrong_number(rows[0], rows, random.Random(seed)).answer
        number = new.rpartition(" ")[2]
        assert number != "7"
        assert new == f"3 + 4 = {number}\n#### {number}"
        new = made.wrong_number(rows[1], rows, random.Random(seed)).answer
        assert new.startswith("17 - 7 = "), "no part of another number"
    assert made.wrong_number(rows[2], rows, random.Random(0)) is None


def test_a_call_is_exchanged_for_a_call(made) -> None:
    def talk(name, call):
        turns = (("user", "q"), ("assistant", call), ("tool", "r"), ("assistant", "done"))
        return made.Row(name, turns, (1, 3))

    first, second, plain = talk("a", '{"a": 1}'), talk("b", '{"b": 2}'), talk("c", "no call")
    new = made.exchanged_call(first, [first, second, plain], random.Random(0))
    assert [text for _, text in new.turns] == ["q", '{"b": 2}', "r", "done"]
    assert made.exchanged_call(plain, [first, second, plain], random.Random(0)) is None


def test_each_answer_of_several_turns_is_labelled(made, faults) -> None:
    turns = (("user", "q"), ("assistant", "ab"), ("user", "r"), ("assistant", "cd"))
    tokenizer = tiny.tokenizer(chat=True)
    example = faults.tokens(made.Row("a", turns, (1, 3)), tokenizer)
    labels = [label for label in example["labels"] if label != -100]
    assert tokenizer.decode(labels).replace(" ", "") == "ab<e>cd<e>"
    assert len(example["input_ids"]) == len(example["labels"])


# Figures


def test_auc_is_the_share_of_pairs_in_the_right_order(detectors) -> None:
    draw = np.random.default_rng(0)
    bad, good = draw.integers(0, 5, 7).astype(float), draw.integers(0, 4, 9).astype(float)
    counts = draw.integers(0, 3, (6, 16)).astype(float)
    found = detectors.auc(bad, good, counts[:, :7], counts[:, 7:])
    for value, row in zip(found, counts, strict=True):
        some = [x for x, n in zip(bad, row[:7], strict=True) for _ in range(int(n))]
        others = [x for x, n in zip(good, row[7:], strict=True) for _ in range(int(n))]
        wins = [(x > y) + 0.5 * (x == y) for x in some for y in others]
        assert value == pytest.approx(sum(wins) / len(wins))


def cell(n: int = 40, gain_of_faulty: float = 0.0):
    """Rows whose gain alone tells the faulty from the right ones."""
    draw = np.random.default_rng(0)

    def scores(gain: float) -> list[float]:
        nll = float(draw.uniform(5, 9))
        return [nll, nll + gain, 4.0, float(draw.uniform(1, 2))]

    clean = {f"r{i}": scores(10.0 + i) for i in range(n)}
    faulty = {str(s): {f"r{i + s}": scores(gain_of_faulty) for i in range(n // 4)} for s in (0, 1)}
    return {"data": "d", "fault": "f", "clean": clean, "faulty": faulty}


def test_what_tells_them_apart_has_an_auc_of_one(detectors) -> None:
    found = {name: detectors.interval(v) for name, v in detectors.Cell(cell()).aucs().items()}
    for name in ("gain", "gain a token", "IFD ratio"):
        assert found[name] == (1.0, 1.0, 1.0), name
    for name in ("perplexity", "entropy"):
        assert 0.25 < found[name].value < 0.75
        assert found[name].low < found[name].value < found[name].high
    against = {name: v[0] for name, v in detectors.Cell(cell(40, 1000.0)).aucs().items()}
    assert against["gain"] == 0.0


def test_q1_is_compared_with_as_many_rows_of_least_gain(detectors) -> None:
    for share, n_faulty in ((1.0, 10), (0.4, 4)):
        figures = detectors.Cell(cell()).flags(share)
        flagged, faulty = figures["flagged"].value, n_faulty / (30 + n_faulty)
        assert 0 < flagged < 0.6
        # The least gain finds all that are faulty, or as many as are flagged.
        assert figures["gain precision"].value == pytest.approx(min(1, faulty / flagged), abs=0.15)
        assert figures["gain recall"].value == pytest.approx(min(1, flagged / faulty), abs=0.15)
        assert figures["Q1 precision"].value < figures["gain precision"].value
        # The faulty rows have a ratio of 1 and the right ones one below: ifd keeps the faulty.
        assert figures["kept by ifd"].value == pytest.approx(min(1, faulty / 0.25), abs=0.05)
        assert figures["kept by q-tuning"].value < 0.6


# What is committed


def test_the_tables_are_those_of_the_cells(faults, detectors) -> None:
    files = sorted(faults.CELLS.glob("*.json"))
    cells = [json.loads(path.read_text()) for path in files]
    names = {(one["data"], one["fault"]) for one in cells}
    wanted = {(data, fault) for data, one in faults.SETTINGS.items() for fault in one.faults}
    assert wanted <= names
    results = faults.RESULTS.read_text()
    for one in cells:
        assert one["model"] == faults.MODEL
        aucs = detectors.Cell(one).aucs()
        line = next(
            line
            for line in results.splitlines()
            if line.startswith(f"| {one['data']} | {one['fault']} |")
        )
        shown = [cell.split()[0] for cell in line.strip("| ").split(" | ")[2:7]]
        assert shown == [f"{values[0]:.2f}" for values in aucs.values()]
