"""Pruning arguments are checked, documented, and parsed like any other training argument."""

import json
import math
from dataclasses import MISSING, dataclass, fields

import pytest
import torch
import yaml
from transformers import TrainingArguments
from transformers.trainer_utils import SchedulerType
from trl import SFTConfig, TrlParser

from qtuning.arguments import PruningArguments, pruning_fields
from qtuning.errors import UsageError
from qtuning.training.config import QTuningConfig

from .. import device


@dataclass
class OwnArguments(PruningArguments, TrainingArguments):
    pass


def keep_first(pool, args):
    return torch.arange(len(pool)) == 0


# A value of each field that is not its default.
OTHER = {
    "sample_pruner": "random",
    "sample_ratio": 0.125,
    "token_pruner": "qtuning.pruners.q_tuning:QTuningTokens",  # reads all that is set here
    "token_ratio": 0.75,
    "token_mode": "drop",
    "neighbor_lambda": 0.25,
    "neighbor_mean": True,
    "error_scale": "log_ppl",
    "fill_tokens": "side",
    "protect_eos": False,
    "token_budget": "pool",
    "token_rule": "and",
    "pool_factor": 3,
    "pool_scope": "micro",
    "bisect_steps": 7,
    "entropy_over": "all",
    "prune_unit": "sample",  # turn needs another token_mode, see tests of turns
    "gain_quantile": 0.25,
    "tail_schedule": "fixed",
    "s_ifd_noisy": True,
    "score_batch_size": 16,
    "score_dtype": "bfloat16",
    "score_refresh": 0.25,
    "initial_scores": "scores.parquet",
    "scorer_model_name_or_path": "smaller",
    "reference_model_name_or_path": "better",
    "one_pass": False,  # needs other values of these, see below
    "prune_start": 0.1,
    "prune_end": 0.9,
    "token_weight": "power",
    "eaft_form": "axolotl",
    "eaft_exponent": 2.0,
    "power_q": 0.5,
    "power_tau": 0.25,
    "power_side": "below",
    "prift_form": "mass",
    "stm_threshold": 3.0,
    "probe_samples": 100,
    "probe_steps": 5,
}
NUMBERS = ("a", None, True, math.nan, math.inf)
BAD = {
    "sample_ratio": (0.0, -0.1, 1.01, 25, *NUMBERS),
    "token_ratio": (0, -1, 1.5, *NUMBERS),
    "neighbor_lambda": (-0.1, 1.1, *NUMBERS),
    "prune_start": (-0.1, 1.0, 1.1, *NUMBERS),
    "prune_end": (0.0, -0.1, 1.1, *NUMBERS),
    "pool_factor": (0, -1, 1.5, "2", math.nan),
    "bisect_steps": (0, -3, 2.0, "2"),
    "score_batch_size": (0, -8, 2.5, "8"),
    "probe_samples": (-1, 1.5, "100", None, True),
    "probe_steps": (0, -1, 2.5, "10", None, True),
    "score_dtype": ("float32", "bf16", None),
    "token_weight": ("DFT", "no_such_module:x", "math:pi", None, 3),
    "eaft_form": ("trl", None, True),
    "eaft_exponent": (-0.1, 10.1, *NUMBERS),
    "power_q": (-0.1, 101, *NUMBERS),
    "power_tau": (-0.1, 1.01, *NUMBERS),
    "power_side": ("under", None, True),
    "prift_form": ("probability", None, True),
    "stm_threshold": (0.99, -1, *NUMBERS),
    "score_refresh": (-0.1, 1.01, 25, *NUMBERS),
    "gain_quantile": (-0.1, 1.01, *NUMBERS),
    "tail_schedule": ("rising", None),
    "token_mode": ("masked", "", None, ["mask"]),
    "error_scale": ("log", None),
    "fill_tokens": ("none", True),
    "token_budget": ("batch", None, True),
    "token_rule": ("or", None, True),
    "entropy_over": ("prompt", None, True),
    "prune_unit": ("message", None, True),
    "pool_scope": ("micro_batch", None),
    "sample_pruner": ("q_tuning", "no_such_module:x", "math:pi", "none", None, 3),
    "token_pruner": ("q_tuning", "no_such_module:x", "math:pi", "full", None, 3),
}
ACCEPTED = {
    "initial_scores": (),
    "scorer_model_name_or_path": (),
    "reference_model_name_or_path": (),
    "pool_factor": (None, True),
    "bisect_steps": (None, True),
    "score_batch_size": (True,),
    "neighbor_mean": ("no", 3, None),
    "protect_eos": ("no", 3, None),
    "s_ifd_noisy": ("no", 3, None),
    "one_pass": ("no", 3, None),
}
ONE_PASS = {"one_pass": True, "pool_scope": "micro"}
KINDS = (PruningArguments, QTuningConfig, OwnArguments)
PRUNING = fields(PruningArguments)

each_kind = pytest.mark.parametrize("kind", KINDS)
each_field = pytest.mark.parametrize("field", PRUNING, ids=lambda field: field.name)


def make(kind, folder, **changes):
    own = {} if kind is PruningArguments else {"output_dir": str(folder), **device.arguments()}
    if kind is not PruningArguments:
        own["bf16"] = False
    return kind(**own, **changes)


def chosen(args) -> dict:
    return {field.name: vars(args)[field.name] for field in PRUNING}


def test_every_field_is_tried_here():
    assert {field.name for field in PRUNING} == set(OTHER) == set(BAD) | set(ACCEPTED)
    default = {field.name for field in PRUNING if field.default == OTHER[field.name]}
    assert default == {"one_pass", "prune_unit"}


def test_the_defaults_are_the_promised_ones():
    assert chosen(PruningArguments()) == {
        "sample_pruner": "q-tuning",
        "sample_ratio": 0.25,
        "token_pruner": "q-tuning",
        "token_ratio": 0.5,
        "token_mode": "mask",
        "neighbor_lambda": 0.5,
        "neighbor_mean": False,
        "error_scale": "ppl",
        "fill_tokens": "whole",
        "protect_eos": True,
        "token_budget": "sample",
        "token_rule": "score",
        "pool_factor": 1,
        "pool_scope": "step",
        "bisect_steps": 10,
        "entropy_over": "answer",
        "prune_unit": "sample",
        "gain_quantile": 0.5,
        "tail_schedule": "linear",
        "s_ifd_noisy": False,
        "score_batch_size": None,
        "score_dtype": "same",
        "score_refresh": 1.0,
        "initial_scores": None,
        "scorer_model_name_or_path": None,
        "reference_model_name_or_path": None,
        "one_pass": False,
        "prune_start": 0.0,
        "prune_end": 1.0,
        "token_weight": "none",
        "eaft_form": "paper",
        "eaft_exponent": 1.0,
        "power_q": 1.0,
        "power_tau": 0.0,
        "power_side": "above",
        "prift_form": "prob",
        "stm_threshold": 2.5,
        "probe_samples": 0,
        "probe_steps": 10,
    }


@each_kind
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name, values in BAD.items() for value in values),
        *((name, value) for name, values in ACCEPTED.items() for value in values),
    ],
)
def test_a_bad_value_is_a_usage_error_in_one_line_that_names_the_field(tmp_path, kind, name, value):
    with pytest.raises(UsageError, match=name) as told:
        make(kind, tmp_path, **{name: value})
    assert "\n" not in str(told.value)


@each_kind
def test_good_values_and_the_ends_of_the_ranges_are_taken(tmp_path, kind):
    assert chosen(make(kind, tmp_path, **OTHER)) == OTHER
    ends = {"sample_ratio": 1, "token_ratio": 1.0, "neighbor_lambda": 0, "bisect_steps": 1}
    ends |= {"score_refresh": 0.0, "gain_quantile": 1}
    assert make(kind, tmp_path, **ends).sample_ratio == 1
    assert make(kind, tmp_path, neighbor_lambda=1.0, sample_ratio=1e-9).neighbor_lambda == 1.0


def test_pruning_must_start_before_it_ends():
    with pytest.raises(UsageError, match=r"prune_start \(0\.5\) must be below prune_end \(0\.5\)"):
        PruningArguments(prune_start=0.5, prune_end=0.5)


@each_kind
def test_one_pass_is_taken_with_what_it_needs_only(tmp_path, kind):
    assert make(kind, tmp_path, **ONE_PASS).one_pass
    with pytest.raises(UsageError, match="set pool_scope to micro"):
        make(kind, tmp_path, one_pass=True)
    with pytest.raises(UsageError, match="set token_mode to mask"):
        make(kind, tmp_path, **ONE_PASS, token_mode="drop")


def test_one_pass_is_a_flag(tmp_path):
    flags = ["--output_dir", str(tmp_path), "--bf16", "false", *device.flags()]
    flags += ["--one_pass", "true", "--pool_scope", "micro"]
    (args,) = TrlParser(QTuningConfig).parse_args_and_config(flags)
    assert args.one_pass is True


@each_kind
def test_callables_are_taken_as_pruners(tmp_path, kind):
    args = make(kind, tmp_path, sample_pruner=keep_first, token_pruner=keep_first)
    assert (args.sample_pruner, args.token_pruner) == (keep_first, keep_first)


@pytest.mark.parametrize("kind", [QTuningConfig, OwnArguments])
def test_the_other_arguments_keep_their_own_checks_and_conversions(tmp_path, kind):
    args = make(kind, tmp_path, lr_scheduler_type="cosine")
    assert args.lr_scheduler_type is SchedulerType.COSINE
    with pytest.raises(ValueError, match="eval_steps"):
        make(kind, tmp_path, eval_strategy="steps", eval_steps=0, logging_steps=0)


def test_every_other_default_is_trls():
    pruning = {field.name for field in PRUNING}
    ours = {f.name: f for f in fields(QTuningConfig) if f.name not in pruning}
    theirs = {field.name: field for field in fields(SFTConfig)}
    assert ours.keys() == theirs.keys()
    for name, field in theirs.items():
        assert ours[name].default == field.default
        if field.default_factory is not MISSING:
            assert ours[name].default_factory is field.default_factory


@each_field
def test_every_field_has_a_help_text(field):
    assert field.metadata["help"].endswith(".")


@each_kind
def test_help_shows_every_help_text_and_all_choices(kind):
    shown = "".join(TrlParser(kind).format_help().split())
    for field in PRUNING:
        assert f"--{field.name}" in shown
        assert "".join(field.metadata["help"].split()) in shown
        for choice in field.metadata.get("choices", ()):
            assert choice in shown


def test_every_field_is_a_flag(tmp_path):
    flags = [word for name, value in OTHER.items() for word in (f"--{name}", str(value))]
    own = ["--output_dir", str(tmp_path), "--bf16", "false", *device.flags()]
    (args,) = TrlParser(QTuningConfig).parse_args_and_config([*own, *flags])
    assert chosen(args) == OTHER
    assert {name: type(value) for name, value in chosen(args).items()} == {
        name: type(value) for name, value in OTHER.items()
    }


def test_every_field_is_a_yaml_key_that_a_flag_overrides(tmp_path):
    path = tmp_path / "config.yaml"
    own = {"output_dir": str(tmp_path), "bf16": False, **device.arguments()}
    path.write_text(yaml.safe_dump({**own, **OTHER}))
    (args,) = TrlParser(QTuningConfig).parse_args_and_config(["--config", str(path)])
    assert chosen(args) == OTHER
    more = ["--config", str(path), "--sample_ratio", "0.5", "--neighbor_mean", "false"]
    (args,) = TrlParser(QTuningConfig).parse_args_and_config(more)
    assert chosen(args) == {**OTHER, "sample_ratio": 0.5, "neighbor_mean": False}


def test_bad_flags_and_yaml_values_are_refused(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"output_dir": str(tmp_path), "token_ratio": 2.0}))
    with pytest.raises(UsageError, match="token_ratio"):
        TrlParser(QTuningConfig).parse_args_and_config(["--config", str(path)])
    with pytest.raises(SystemExit):
        TrlParser(PruningArguments).parse_args_and_config(["--token_mode", "masked"])
    assert "token_mode" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [QTuningConfig, OwnArguments])
def test_a_config_can_be_made_again_from_its_fields_and_its_json(tmp_path, kind):
    config = make(kind, tmp_path, **OTHER)
    again = kind(**{f.name: vars(config)[f.name] for f in fields(config) if f.init})
    assert again.to_dict() == config.to_dict()
    assert json.loads(config.to_json_string()).items() >= OTHER.items()


def test_a_config_with_a_function_as_pruner_can_be_written_as_json(tmp_path):
    config = make(QTuningConfig, tmp_path, sample_pruner=keep_first)
    assert "keep_first" in config.to_json_string()


@pytest.mark.parametrize("pruner", ["rho-1", "token-cleaning"])
def test_a_pruner_that_compares_needs_a_reference(pruner):
    with pytest.raises(UsageError, match=f"{pruner}.*set reference_model_name_or_path"):
        PruningArguments(token_pruner=pruner)
    PruningArguments(token_pruner=pruner, reference_model_name_or_path="better")
    PruningArguments(token_pruner="ss-token")


@pytest.mark.parametrize("names", [{"token_pruner": "fastv"}, {"sample_pruner": "infobatch"}])
def test_one_pass_has_no_more_than_perplexity_and_entropy(names):
    with pytest.raises(UsageError, match="one_pass has perplexity and entropy alone"):
        PruningArguments(**ONE_PASS, **names)


def test_earlier_scores_serve_a_pruner_that_looks_back():
    PruningArguments(sample_pruner="infobatch", initial_scores="scores.parquet")
    with pytest.raises(UsageError, match="initial_scores has no effect"):
        PruningArguments(initial_scores="scores.parquet")


@pytest.mark.parametrize(("pruner", "what"), [("el2n", "el2n"), ("tail", "base_mean")])
def test_earlier_scores_are_refused_where_no_file_has_what_the_pruner_reads(pruner, what):
    with pytest.raises(UsageError, match=rf"no file of scores has \({what}\): leave it out"):
        PruningArguments(sample_pruner=pruner, initial_scores="scores.parquet", score_refresh=0.5)


@pytest.mark.parametrize(
    "static", [{"scorer_model_name_or_path": "smaller"}, {"score_refresh": 0.0}], ids=str
)
def test_tail_is_refused_where_the_scores_do_not_follow_the_model(static):
    with pytest.raises(UsageError, match="tail follows how the model being trained changes"):
        PruningArguments(sample_pruner="tail", **static)
    PruningArguments(sample_pruner="tail", score_refresh=0.1)


def test_the_fields_as_plain_data_name_callables():
    args = PruningArguments(sample_pruner=len, sample_ratio=0.5)
    plain = pruning_fields(args)
    assert plain["sample_pruner"] == "<built-in function len>"
    assert plain["sample_ratio"] == 0.5
    json.dumps(plain)
