"""A report of a run whose units were turns, in a browser."""

from datasets import Dataset

from qtuning import read_ledger, report

from .. import turned


def test_a_turn_is_shown_with_its_kind_and_the_turns_beside_it(opened, tmp_path) -> None:
    turned.pruning(tmp_path / "run", num_train_epochs=2).train()
    report(tmp_path / "run", output=tmp_path / "r.html", rows=Dataset.from_list(turned.rows()))
    page = opened(tmp_path / "r.html")
    page.fill("#search", "c2@3")
    page.locator("#found button.link", has_text="c2@3").first.click()
    shown = page.locator("#sample").inner_text()
    last = {
        row["turn"]: "kept" if row["kept"] else "dropped"
        for row in read_ledger(tmp_path / "run").to_pylist()
        if row["sample_id"] == "c2"
    }
    kinds = ("answers", "answers", "answers with thoughts")
    told = " · ".join(f"{n} {kind}: {last[n]}" for n, kind in enumerate(kinds, 1))
    assert told in shown
    assert "(thinks) hmhm\nend 2" in shown
    assert "user: z" in shown
