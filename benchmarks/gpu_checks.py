"""Whether what holds on a CPU holds on a GPU: stock bit by bit, resuming, every pruner."""

import shutil
from collections.abc import Iterator
from typing import Any

import torch
from gpu_steps import Q125, candidates
from gpu_subjects import Place, build, rows, trainer_of
from subjects import placeholder_tokenizer
from transformers import TrainerCallback

from qtuning import SAMPLE_PRUNERS, TOKEN_PRUNERS, read_ledger
from qtuning.pruners.protocols import OF_IMAGES

MODEL = "4 layers"
STEPS = 4
COMPARING = ("rho-1", "token-cleaning")
"""Token pruners that need a reference model."""
FULL = {"sample_ratio": 1.0, "token_ratio": 1.0}


class Stop(TrainerCallback):
    """Stops the training after a step."""

    def __init__(self, step: int) -> None:
        """After which."""
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop there."""
        control.should_training_stop = state.global_step >= self.step


def ratio_one(place: Place) -> dict[str, Any]:
    """Compare ratio 1.0 with the stock trainer, and the stock trainer with itself."""
    theirs, again = (_run(place, f"stock {i}", None) for i in (1, 2))
    ours = _run(place, "ratio 1.0", FULL)
    return _compared(theirs, again, ours, "ratio 1.0 is the stock trainer, bit by bit")


def resume(place: Place) -> dict[str, Any]:
    """Compare a run that was stopped and resumed with one that was not."""
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": STEPS // 2}
    whole, again = (_run(place, f"whole {i}", Q125, **saving) for i in (1, 2))
    _run(place, "resumed", Q125, stop=STEPS // 2, **saving)
    resumed = _run(place, "resumed", Q125, resumed=True, **saving)
    found = _compared(whole, again, resumed, "a resumed run is one that was never stopped")
    ledgers = [read_ledger(trainer.args.output_dir) for trainer in (whole, resumed)]
    found["same_decisions"] = ledgers[0].equals(ledgers[1])
    found["ok"] = found["ok"] and found["same_decisions"]
    return found


def pruners(place: Place) -> Iterator[dict[str, Any]]:
    """Have every registered pruner take two steps, with one that needs no scores beside it."""
    reference = place.scratch / "reference"
    build(place, "tiny", torch.float32).save_pretrained(reference)
    placeholder_tokenizer().save_pretrained(reference)
    pairs = [(name, "random") for name, one in SAMPLE_PRUNERS.items() if not one.needs & OF_IMAGES]
    pairs += [("random", name) for name in TOKEN_PRUNERS if name != "random"]
    if place.tiny:  # the tests of the library have all of them
        pairs = [("q-tuning", "random"), *(("random", name) for name in COMPARING[:1])]
    for sample, token in pairs:
        options = {**Q125, "sample_pruner": sample, "token_pruner": token}
        if token in COMPARING:
            options["reference_model_name_or_path"] = str(reference)
        if place.left < 0:
            return
        said = None
        try:
            trainer = _run(place, "pruner", options, model="tiny", steps=2)
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            said = f"{type(error).__name__}: {str(error)[:300]}"
        else:
            if trainer.state.global_step != 2:
                said = f"{trainer.state.global_step} steps"
        yield {"sample_pruner": sample, "token_pruner": token, "ok": said is None, "said": said}


def _run(
    place: Place,
    folder: str,
    options: dict[str, Any] | None,
    *,
    model: str = MODEL,
    steps: int = STEPS,
    stop: int | None = None,
    resumed: bool = False,
    **settings: Any,
) -> Any:
    output = place.scratch / folder
    if not resumed:
        shutil.rmtree(output, ignore_errors=True)
    data = rows(place, model, "gsm8k", candidates(place) * steps, 0)
    subject = build(place, model, torch.bfloat16 if place.cuda else torch.float32)
    trainer = trainer_of(
        place, subject, data, options, output_dir=str(output), logging_steps=1, **settings
    )
    if stop is not None:
        trainer.add_callback(Stop(stop))
    trainer.train(resume_from_checkpoint=resumed or None)
    return trainer


def _compared(first: Any, again: Any, other: Any, claim: str) -> dict[str, Any]:
    """What differs; a run that does not repeat itself proves nothing, and says so."""
    repeats = _same(first, again)
    same = _same(first, other)
    return {"claim": claim, "ok": same, "repeats_itself": repeats, "furthest": _far(first, other)}


def _same(a: Any, b: Any) -> bool:
    return _losses(a) == _losses(b) and _far(a, b) == 0.0


def _far(a: Any, b: Any) -> float:
    one, two = a.model.state_dict(), b.model.state_dict()
    if one.keys() != two.keys():
        return float("inf")
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)


def _losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
