"""What the plugin refuses, through Axolotl's own command, and the names that it relies on."""

import json

import pytest

from .programs import PLUGIN
from .recorded import FILE, installed

pytest.importorskip("axolotl", reason="in the environment that `make integrations` makes")


def test_the_recorded_signatures_are_those_of_the_installed_axolotl():
    assert json.loads(FILE.read_text()) == installed()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"qtuning": {"sample_ratios": 0.5}}, "no option of pruning; did you mean sample_ratio?"),
        ({"qtuning": {"sample_ratio": 2.0}}, "sample_ratio must lie in (0, 1], got 2.0"),
        ({"qtuning": {"sample_pruner": "nobody"}}, "nobody"),
        ({"sample_ratio": 0.5}, "stands beside the block qtuning"),
        ({"rl": "dpo"}, "does not support rl in Axolotl's config ('dpo')"),
        ({"batch_flattening": True}, "does not support batch_flattening"),
        ({"sample_packing": True, "qtuning": {"pool_factor": 2}}, "raise micro_batch_size"),
        ({"sample_packing": True}, "set attn_implementation to sdpa or flash_attention_2"),
        (
            {
                "plugins": ["axolotl.integrations.diffusion.DiffusionPlugin", *PLUGIN["plugins"]],
            },
            "another plugin",
        ),
        (
            {
                "plugins": [*PLUGIN["plugins"], "axolotl.integrations.diffusion.DiffusionPlugin"],
            },
            "brings a trainer of its own",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_in_one_line(workshop, changes, why):
    done = workshop.try_run("refused", **{**PLUGIN, **changes})
    assert done.returncode == 2, done.stderr[-3000:]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("qtuning: ")]
    assert why in line
    assert "Traceback" not in done.stderr


def test_without_qtuning_axolotl_trains_unpruned(workshop):
    """Seen, and told in the docs: not ours to mend."""
    missing = {"plugins": ["qtuning.integrations.missing.QTuningPlugin"]}
    done = workshop.try_run("missing", **missing, max_steps=1)
    assert done.returncode == 0
    assert "Failed to load plugin" in done.stderr
    assert not list((workshop.folder / "missing").glob("budget.json"))
