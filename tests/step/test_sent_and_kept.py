"""What ranks send each other, and what a run keeps of a sample, is as large as what it says."""

import random
import re
from pathlib import Path

import pytest
from datasets import Dataset

import qtuning
from qtuning.pruners.protocols import (
    BASE_MEAN,
    EL2N,
    HISTORY,
    LOGITS,
    OF_REFERENCE,
    REFERENCE,
    S_IFD,
    SCORES,
    WITHOUT_PROMPT,
)
from qtuning.pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS
from qtuning.ranks import Ranks

from .. import runs, sizes, tiny

N, STEPS = 16, 2
# Most bytes: of a sample's id, numbers and places in containers; of its id and an empty array; of
# an input token's id and label; of a float among others; of a token's NLL.
A_SAMPLE, A_NAME, AN_EXAMPLE, A_FLOAT, A_SCORE = 600, 300, 2 * 5, 9, 4
DECLARED = {EL2N: 4, WITHOUT_PROMPT: 2 * 8, S_IFD: 8, BASE_MEAN: 8, LOGITS: 4 * 1025}
"""Bytes of the statistics of a sample that a sample pruner reads besides perplexity and entropy."""


class Wire:
    """Stands for the other ranks: counts what they are sent, and gives back what they receive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent = 0
        monkeypatch.setattr(Ranks, "of_every_process", lambda ranks, item: [self._carry(item)])

    def _carry(self, item):
        n, received = sizes.sent([(0, item)])
        self.sent += n
        return received[0][1]


def rows() -> list[dict[str, str]]:
    """Long answers, so that the scores of a pass are far more than those of a sample."""
    draw = random.Random(0)
    lengths = [draw.randint(90, 200) for _ in range(N)]
    return [
        {"prompt": f"{i} =", "completion": "".join(draw.choices("abcdef ", k=length))}
        for i, length in enumerate(lengths)
    ]


# Each character is a token, and <eos> follows.
N_TOKENS = sum(len(row["completion"]) + 1 for row in rows())
N_INPUT = N_TOKENS + sum(len(row["prompt"]) for row in rows())


def declared(sample_pruner: str) -> int:
    """Bytes of the further statistics of all samples that a sample pruner declares to read."""
    return N * sum(DECLARED.get(need, 0) for need in SAMPLE_PRUNERS[sample_pruner].needs)


def trained(folder: Path, sample: str, token: str, **changes):
    """A trainer after ``STEPS`` steps, each of which saw all samples."""
    if REFERENCE in TOKEN_PRUNERS[token].needs:
        changes["reference_model_name_or_path"] = str(tiny.save_model(folder / "reference", seed=5))
    trainer = runs.pruning(
        folder / "run",
        data=Dataset.from_list(rows()),
        model=tiny.llama(),
        sample_pruner=sample,
        token_pruner=token,
        per_device_train_batch_size=N // 2,
        gradient_accumulation_steps=2,
        num_train_epochs=STEPS,
        probe_samples=2,
        probe_steps=1,
        **changes,
    )
    trainer.train()
    assert trainer.state.global_step == STEPS
    return trainer


CASES = [
    *((name, "random", {}) for name in runs.TEXT_PRUNERS),
    *(
        (name, "random", {"score_refresh": 0.5})
        for name in runs.TEXT_PRUNERS
        if SCORES in SAMPLE_PRUNERS[name].needs
    ),
    *(("random", name, {}) for name in TOKEN_PRUNERS),
    *(("q-tuning", name, {}) for name in ("q-tuning", "rho-1", "ss-token")),
    ("q-tuning", "q-tuning", {"one_pass": True, "pool_scope": "micro"}),
    ("random", "surprising", {"one_pass": True, "pool_scope": "micro"}),
]


@pytest.mark.parametrize(("sample", "token", "changes"), CASES, ids=str)
def test_what_is_sent_and_kept_is_bounded_by_tokens_and_declared_statistics(
    tmp_path, monkeypatch, sample, token, changes
):
    wire = Wire(monkeypatch)
    step_pruner = trained(tmp_path, sample, token, **changes)._step_pruner
    needs = TOKEN_PRUNERS[token].needs
    each_step = N * A_SAMPLE + N_INPUT * AN_EXAMPLE + declared(sample)
    if REFERENCE in needs:
        each_step += N_TOKENS * A_FLOAT  # ranked over all ranks
    compared = (needs | SAMPLE_PRUNERS[sample].needs) & OF_REFERENCE
    once = N_TOKENS * A_SCORE if compared else 0
    assert wire.sent <= STEPS * each_step + once
    assert_kept_is_small(step_pruner, sample, token)


@pytest.mark.parametrize(
    ("sample", "token", "changes"),
    [
        ("uds", "random", {"score_refresh": 0.5}),
        ("ifd", "random", {"score_refresh": 0.5}),
        ("infobatch", "random", {}),
        ("random", "rho-1", {}),
        ("q-tuning", "ss-token", {}),
    ],
    ids=str,
)
def test_a_single_process_keeps_no_more_of_what_it_sends_to_nobody(
    tmp_path, sample, token, changes
):
    assert_kept_is_small(trained(tmp_path, sample, token, **changes)._step_pruner, sample, token)


def assert_kept_is_small(step_pruner, sample: str, token: str) -> None:
    needs = SAMPLE_PRUNERS[sample].needs
    if step_pruner.refresh is None:
        assert HISTORY not in needs
    else:
        scores = step_pruner.refresh.store
        assert len(scores)
        assert sizes.held(scores) <= len(scores) * A_SAMPLE + declared(sample)
    reference = step_pruner.more.store
    assert bool(len(reference)) == bool((TOKEN_PRUNERS[token].needs | needs) & OF_REFERENCE)
    assert sizes.held(reference) <= A_SAMPLE + len(reference) * A_NAME + N_TOKENS * A_SCORE
    memory = step_pruner.memory
    assert bool(memory) == (sample == "uds")
    assert sizes.held(memory) <= A_SAMPLE + sum(kept.nbytes for kept in memory.values())


def test_ranks_talk_to_each_other_in_one_place():
    """So that nothing is sent that the test above does not count."""
    package = Path(qtuning.__file__).parent
    talking = re.compile("gather_object|broadcast_object|all_gather|scatter_object|_object_to_")
    talks = [path.name for path in package.rglob("*.py") if talking.search(path.read_text())]
    assert talks == ["ranks.py"]
