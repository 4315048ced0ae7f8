"""Axolotl's config: the options of pruning in it, and what of it cannot be pruned."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError

BLOCK = "qtuning"
_NAMES = tuple(spec.name for spec in fields(PruningArguments))
_OTHER_TRAINERS = "Axolotl trains that with another trainer"
REFUSED: Mapping[str, tuple[str, str]] = {
    "pretraining_dataset": ("a stream of text has no samples to choose from", "use datasets"),
    "streaming": ("Axolotl packs a stream while it reads it", "set it to false"),
    "batch_flattening": (
        "a micro-batch becomes one row before it can be pruned",
        "set it to false, or use sample_packing",
    ),
    "rl": (f"{_OTHER_TRAINERS}, only supervised fine-tuning is pruned", "take the plugin out"),
    "reward_model": (_OTHER_TRAINERS, "take the plugin out"),
    "process_reward_model": (_OTHER_TRAINERS, "take the plugin out"),
    "trainer_cls": ("a run has only one trainer", "take it out, or the plugin"),
    "processor_type": ("images are not pruned under Axolotl", "take it out"),
    "orpo_alpha": ("its loss compares pairs of answers", "take it out"),
    "use_pose": ("positions are numbered again where tokens are dropped", "set it to false"),
    "relora": ("restarts of adapters and optimizer are untested with pruning", "set it to false"),
    "use_eaft": ("its loss replaces the one that pruning normalises", "set it to false"),
    "use_ray": ("Ray starts the trainer outside the main thread", "set it to false"),
}
"""Keys of Axolotl that are refused when they are set: why, and what to do instead."""


def options_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The options of pruning in a config: the block ``qtuning`` without what is null."""
    return {name: value for name, value in (cfg.get(BLOCK) or {}).items() if value is not None}


def check_config(cfg: Mapping[str, Any]) -> None:
    """Check a config as the user wrote it, with what stands on the command line.

    Args:
        cfg: The YAML's keys and values.

    Raises:
        UsageError: A key or value of the block is unknown or out of range, an option of pruning
            stands outside the block, or Axolotl is asked for what cannot be pruned.
    """
    block = cfg.get(BLOCK)
    if block is not None and not isinstance(block, Mapping):
        raise UsageError(
            f"{BLOCK} in Axolotl's config must be a block of options, got {block!r}: write e.g. "
            f"`{BLOCK}:` and in the next line `  sample_ratio: 0.25`"
        )
    for name in block or ():
        if name not in _NAMES:
            near = get_close_matches(str(name), _NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists the options"
            raise UsageError(f"{BLOCK}.{name} in Axolotl's config is no option of pruning; {hint}")
    outside = [name for name in _NAMES if name in cfg]
    if outside:
        raise UsageError(
            f"{outside[0]} stands beside the block {BLOCK} in Axolotl's config, where nobody reads "
            f"it: indent it below `{BLOCK}:`"
        )
    PruningArguments(**options_of(cfg))
    check_resolved(cfg)


def check_resolved(cfg: Mapping[str, Any]) -> None:
    """Check what Axolotl is asked for, in a config as written or as Axolotl has completed it.

    Args:
        cfg: Keys and values.

    Raises:
        UsageError: Axolotl is asked for what cannot be pruned.
    """
    for key, (why, instead) in REFUSED.items():
        if cfg.get(key):
            raise UsageError(
                f"pruning does not support {key} in Axolotl's config ({cfg[key]!r}): {why}; "
                f"{instead}"
            )
    if (cfg.get("context_parallel_size") or 1) > 1:
        raise UsageError(
            "pruning does not support context_parallel_size above 1 in Axolotl's config: a "
            "sequence is split over ranks; set it to 1"
        )
    if cfg.get("model_config_type") == "mamba":
        raise UsageError(
            "pruning does not support model_config_type mamba in Axolotl's config: Axolotl trains "
            "it with another trainer; take the plugin out"
        )
    if cfg.get("sample_packing") and cfg.get("attn_decontaminates_packing") is False:
        raise UsageError(
            f"pruning does not support sample_packing with attn_implementation "
            f"{cfg.get('attn_implementation') or 'unset'} in Axolotl's config: a sample would see "
            "the ones before it, and be scored with them; set attn_implementation to sdpa or "
            "flash_attention_2"
        )
    if options_of(cfg).get("pool_factor", 1) > 1:
        if cfg.get("sample_packing"):
            raise UsageError(
                f"{BLOCK}.pool_factor above 1 does not go with sample_packing in Axolotl's config: "
                "a pool is what the bins hold; raise micro_batch_size or sequence_len instead"
            )
        if not cfg.get("max_steps"):
            raise UsageError(
                f"{BLOCK}.pool_factor above 1 needs max_steps in Axolotl's config: Axolotl counts "
                "the steps of an epoch by its own batch size; set max_steps to the rows of all "
                "epochs over micro_batch_size x gradient_accumulation_steps x pool_factor"
            )
