"""`qtuning prune` where scores are not sound, or do not say all."""

import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import qtuning
from qtuning import PruningArguments, Selection
from qtuning.commands.main import main
from qtuning.errors import UsageError
from qtuning.offline.prune import decide_offline
from qtuning.pruners.protocols import SCORES
from qtuning.pruners.registry import SAMPLE_PRUNERS

pytestmark = pytest.mark.usefixtures("one_thread")


def made_up(ppl, entropy=None, n_tokens=None) -> pa.Table:
    """Scores of rows called a, b, c, ..."""
    n = len(ppl)
    return pa.table(
        {
            "sample_id": [chr(97 + i) for i in range(n)],
            "ppl": pa.array(ppl, pa.float64()),
            "entropy": pa.array(entropy or [1.0] * n, pa.float64()),
            "n_tokens": n_tokens or [4] * n,
        }
    )


@pytest.mark.parametrize(
    "name", [name for name, p in SAMPLE_PRUNERS.items() if p.needs == {SCORES}]
)
@pytest.mark.parametrize("odd", [math.inf, math.nan])
def test_rows_of_infinite_loss_take_no_place(name, odd):
    scores = made_up([1.0, 2.0, odd, 3.0, 4.0, odd, 5.0, 6.0], [0.1, 0.2, 9, 0.3, 0.4, 9, 0.5, 0.6])
    args = PruningArguments(sample_pruner=name, sample_ratio=0.75, token_ratio=1.0)
    found = decide_offline(scores, args)
    assert found.kept.tolist() == [True, True, False, True, True, False, True, True]
    assert found.bad.tolist() == [row in (2, 5) for row in range(8)]
    reasons = found.reasons()
    assert reasons[2] == reasons[5] == "dropped: NaN or infinite loss"
    assert sum("loss" in reason for reason in reasons) == 2
    fewer = PruningArguments(sample_pruner=name, sample_ratio=0.25, token_ratio=1.0)
    assert int(decide_offline(scores, fewer).kept.sum()) == 2


def test_pruners_that_read_no_scores_look_at_none(caplog):
    """As in a run, which trains on such a sample as TRL does."""
    scores = made_up([2.0, None, math.nan, 3.0], n_tokens=[4, 0, 4, 4])
    whole = {"sample_pruner": "full", "token_ratio": 1.0}
    found = decide_offline(scores, PruningArguments(**whole))
    assert found.kept.tolist() == [True, False, True, True], "b has no answer"
    assert not found.bad.any()
    assert "1 of the kept rows have a NaN or infinite loss" in caplog.text
    caplog.clear()
    read = {"sample_pruner": "full", "token_pruner": "ppl", "token_ratio": 0.5}
    found = decide_offline(scores, PruningArguments(**read), tokens_if_known=True)
    assert found.kept.tolist() == [True, False, False, True]
    assert found.bad.tolist() == [False, False, True, False]
    assert not found.tokens_known
    assert not caplog.text


def test_rows_that_are_left_out_are_told(scores, tmp_path, capsys):
    table = pq.read_table(scores)
    ppl = [math.inf, *table["ppl"].to_pylist()[1:]]
    table = table.set_column(table.column_names.index("ppl"), "ppl", pa.array(ppl))
    pq.write_table(table, tmp_path / "s.parquet")
    command = ["prune", str(tmp_path / "s.parquet"), "--output", str(tmp_path / "o.parquet")]
    assert main([*command, "--sample_ratio", "0.25", "--token_ratio", "1.0"]) == 0
    assert "10 of 40 rows" in (said := capsys.readouterr().out)
    assert "1 rows left out: their loss is NaN or infinite." in said


def test_weights_of_ones_own_are_refused():
    def weighing(pool, args):
        kept = torch.ones(len(pool), dtype=torch.bool)
        return replace(Selection.without_plane(kept), weight=1.0 + kept.double())

    args = PruningArguments(sample_pruner=weighing, token_ratio=1.0)
    with pytest.raises(UsageError, match=r"weights the loss of samples.* in training only"):
        decide_offline(made_up([1.0, 2.0]), args)


def test_scores_of_an_earlier_version_protect_the_last_token_and_say_so(scores, tmp_path, caplog):
    """They do not say which tokens end a turn."""
    table = pq.read_table(scores)
    old = tmp_path / "old.parquet"
    pq.write_table(table.drop_columns(["turn_ends"]), old)
    settings = {"sample_pruner": "full", "token_pruner": "random"}
    found = qtuning.prune(old, token_ratio=0.2, **settings)
    assert len(caplog.records) == 1, "once, whatever the number of rows"
    assert f"{old}: does not say which tokens end a turn" in caplog.text
    assert all(row[-1] for row in found["token_kept"])
    caplog.clear()
    assert found["token_kept"] == qtuning.prune(scores, token_ratio=0.2, **settings)["token_kept"]
    qtuning.prune(old, token_ratio=0.2, protect_eos=False, **settings)
    qtuning.prune(old, token_ratio=1.0, **settings)
    assert not caplog.records, "nothing hangs on it"
