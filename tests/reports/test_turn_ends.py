"""The sliders of a report keep the end of every turn, as the core does."""

import pytest
from datasets import Dataset

from qtuning import PruningArguments, report, score
from qtuning.offline.decided import read_decided
from qtuning.offline.prune import decide_offline
from qtuning.run.ledger import Ledger, LedgerRow

from .. import tiny
from .conftest import set_range

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("as_run", [False, True])
def test_ends_of_turns_stay_at_every_ratio(opened, tmp_path, as_run):
    """Of scores, and of a run whose rows are scores; the ends alone are more than the budget."""
    tiny.save_model(tmp_path / "model", chat=True)
    turns = [("user", "a?"), ("assistant", "b"), ("user", "c?"), ("assistant", "d e")]
    texts = [{"role": role, "content": text} for role, text in turns]
    rows = [
        {
            "messages": [*texts[: 2 + 2 * (i % 2)], {"role": "user", "content": "x" * i}],
            "id": f"s{i}",
        }
        for i in range(12)
    ]
    scores = tmp_path / "scores.parquet"
    score(
        Dataset.from_list(rows), tmp_path / "model", output=scores, per_token=True, progress=False
    )
    table = read_decided(scores)
    args = PruningArguments(sample_ratio=0.5, token_ratio=0.02)
    found = decide_offline(table, args)
    assert found.token_keeps
    source, more = scores, {}
    if as_run:
        source, more = tmp_path / "run", {"rows": scores}
        decided = read_decided(scores, args).to_pylist()
        with Ledger.start(source / "ledger") as ledger:
            names = LedgerRow._fields[2:-1]
            ledger.append(
                [LedgerRow(0, 1, *(row[name] for name in names), True) for row in decided]
            )
    report(source, output=tmp_path / "r.html", sample_ratio=0.5, token_ratio=0.5, **more)
    page = opened(tmp_path / "r.html")
    set_range(page, "sample-ratio", 50)
    set_range(page, "token-ratio", 2)
    counts = table["n_tokens"].to_pylist()
    tokens = {
        i: int(found.token_keeps[i].sum()) if i in found.token_keeps else counts[i]
        for i in found.kept.nonzero().squeeze(1).tolist()
    }
    assert int(page.locator("#token-count").inner_text()) == sum(tokens.values())
    place = next(iter(found.token_keeps))
    assert tokens[place] == len(table["turn_ends"][place].as_py()) > 1
    page.fill("#search", name := table["sample_id"][place].as_py())
    page.locator("#found button.link", has_text=name).first.click()
    kept = [t.evaluate("e => e.tagName !== 'DEL'") for t in page.locator("#sample .token").all()]
    assert kept == found.token_keeps[place].tolist()
