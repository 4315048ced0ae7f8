"""``import qtuning`` and the functional core need torch alone."""

import json
import subprocess
import sys

import pytest

import qtuning

HEAVY = ("transformers", "trl", "datasets", "accelerate", "peft", "pyarrow", "rich")
LAZY = {"PruningArguments", "QTuningConfig", "QTuningTrainer", "with_pruning"}
LAZY |= {
    "diff",
    "evaluate",
    "explain",
    "inspect",
    "prune",
    "read_ledger",
    "read_probe",
    "report",
    "score",
    "stop_on_signals",
    "suspects",
}

SCRIPT = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Blocker())
import torch
import qtuning
from types import SimpleNamespace
from qtuning.pruners.registry import resolve_token_pruner
from qtuning.pruners.protocols import SamplePool, TokenPool, TokenSample

torch.manual_seed(0)
labels = torch.randint(0, 7, (4, 6))
labels[:, :2] = -100
stats = qtuning.token_stats(torch.randn(4, 6, 5), torch.randn(7, 5), labels)
samples = qtuning.sample_stats(stats)
selection = qtuning.select_samples(samples.ppl, samples.entropy, 0.5)
keep = qtuning.keep_tokens(stats.nll[0][stats.mask[0]], 0.5)
args = SimpleNamespace(
    sample_ratio=0.5, bisect_steps=10, error_scale="ppl", token_ratio=0.5,
    neighbor_lambda=0.5, neighbor_mean=False, fill_tokens="whole", token_budget="sample",
    token_rule="score",
)
pool = SamplePool(samples.ppl, samples.entropy, samples.n_tokens, list("abcd"), 1, 0)
kept = {
    name: int(qtuning.SAMPLE_PRUNERS[name](pool, args).kept.sum())
    for name in ("full", "random", "q-tuning")
}
token = TokenSample(
    "a", stats.nll[0][stats.mask[0]], stats.entropy[0][stats.mask[0]],
    torch.zeros(4, dtype=torch.bool), 2, False, 0.0,
)
pruned = resolve_token_pruner("q-tuning")(TokenPool([token], 1, 0), args)

failed = {}
for name in qtuning.__all__:
    try:
        getattr(qtuning, name)
    except ImportError as error:
        failed[name] = str(error)
print(json.dumps({
    "loaded": [name for name in sys.modules if name in HEAVY],
    "kept": int(selection.kept.sum()), "tokens": int(keep.sum()),
    "pruned": int(pruned[0].sum()), "pruners": kept, "failed": failed,
}))
"""


@pytest.fixture(scope="module")
def without() -> dict:
    """What a process finds in which nothing heavier than torch can be imported."""
    code = f"HEAVY = {HEAVY!r}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_functional_core_works_with_torch_alone(without):
    assert without["loaded"] == []
    assert (without["kept"], without["tokens"], without["pruned"]) == (2, 2, 2)
    assert without["pruners"] == {"full": 4, "random": 2, "q-tuning": 2}


def test_only_what_needs_more_fails_and_says_what_is_missing(without):
    # The arguments alone are plain Python.
    assert without["failed"].keys() == LAZY - {"PruningArguments"}
    assert all(any(name in told for name in HEAVY) for told in without["failed"].values())


@pytest.mark.parametrize("name", qtuning.__all__)
def test_every_public_name_is_there(name):
    assert getattr(qtuning, name) is not None


def test_public_names_are_sorted_and_unique():
    assert len(set(qtuning.__all__)) == len(qtuning.__all__)
    assert set(qtuning.__all__) >= LAZY


@pytest.mark.parametrize("name", ["QTuningTrainers", "_LAZY_", "__path_of_nothing__"])
def test_any_other_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=name):
        getattr(qtuning, name)
    assert not hasattr(qtuning, name)


def test_dir_lists_every_public_name():
    done = subprocess.run(
        [sys.executable, "-c", "import qtuning; print(set(qtuning.__all__) - set(dir(qtuning)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
