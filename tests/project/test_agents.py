"""The example of agents, in small: its truth, and that it runs to its tables."""

import importlib.util
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "examples" / "agents.py"


@pytest.fixture(scope="module")
def agents():
    spec = importlib.util.spec_from_file_location("agents", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_truth_is_of_the_messages(agents) -> None:
    rows = agents.conversations(200, 0, 0.3)
    assert rows == agents.conversations(200, 0, 0.3)
    n_bad = 0
    for row in rows:
        own = [m for m in row["messages"] if m["role"] == "assistant"]
        others = [m["content"] for m in row["messages"] if m["role"] != "assistant"]
        wrong = []
        for place in range(3):
            question, result = others[2 * place].split(), others[2 * place + 1]
            function = own[2 * place]["tool_calls"][0]["function"]
            asked = (question[3], question[5])
            if (function["name"], function["arguments"]["city"]) != asked:
                wrong.append(2 * place + 1)
            if own[2 * place + 1]["content"] != f"it is {result} .":
                wrong.append(2 * place + 2)
        assert row["bad"] == wrong
        n_bad += len(wrong)
    assert 0.25 < n_bad / 1200 < 0.35
    assert not any(row["bad"] for row in agents.conversations(20, 0, 0.0))


def test_labels_are_the_assistants(agents) -> None:
    (row,) = agents.conversations(1, 0, 0.0)
    made = agents.tokenizer().apply_chat_template(
        row["messages"], return_dict=True, return_assistant_tokens_mask=True
    )
    assert sum(made["assistant_masks"]) == agents.ANSWER_TOKENS
    nll, right = agents.tested(agents.new_model(0), [row])
    assert nll == pytest.approx(float(torch.tensor(len(agents.WORDS) + 5).log()), rel=0.2)
    assert 0.0 <= right <= 1.0


@pytest.mark.slow
@pytest.mark.cpu("the example is for the CPU")
def test_it_runs_to_its_tables(agents, capsys) -> None:
    agents.main(["--conversations", "48", "--seeds", "1", "--warm_up", "2", "--steps", "3"])
    shown = capsys.readouterr().out
    assert "of 288 turns are bad" in shown
    for arm in agents.ARMS:
        assert f"│ {arm}" in shown
    assert "Done in" in shown
