"""``qtuning train``: ``trl sft`` with pruning.

A ``trl sft`` user changes one word and adds two flags::

    qtuning train --model_name_or_path HuggingFaceTB/SmolLM2-135M-Instruct \
        --dataset_name data.jsonl --sample_ratio 0.125 --token_ratio 0.5 --output_dir out
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from trl import get_peft_config, get_quantization_config

from ..errors import StoppedError, UsageError
from ..examples.prepare import preparing, ready_rows
from ..examples.tokenising import Tokenising
from ..inspection.cheap import tell_findings
from ..io.adapters import Adapter
from ..io.data import load_rows
from ..io.hub import pushing
from ..io.image_rows import has_images, image_rows
from ..io.models import find_adapter, load_causal_lm, load_tokenizer
from ..io.paths import path_of
from ..io.processors import load_processor
from ..io.token_ids import check_vocabulary, vocabulary_of
from ..run.messages import tell
from ..run.saving import room_for
from ..run.stopping import stop_on_signals
from ..signals.other_models import REFERENCE_MODEL, SCORER, check_same_tokenizer
from ..training.config import QTuningConfig
from ..training.trainer import QTuningTrainer
from .train_arguments import check, parse


def run(argv: Sequence[str]) -> None:
    """Train a model and save it; arguments and data are checked before the model is loaded.

    Raises:
        UsageError: An argument or the data are unusable.
        StoppedError: SIGTERM or Ctrl-C stopped training; a checkpoint is written.
    """
    script_args, training_args, model_args, dataset_args = parse(argv)
    check(training_args, model_args)
    name: str = model_args.model_name_or_path
    loading = {
        "revision": model_args.model_revision,
        # Older TRL has this option among the model's arguments, newer TRL among the trainer's.
        "trust_remote_code": {**vars(model_args), **vars(training_args)}["trust_remote_code"],
    }
    adapter = find_adapter(name, loading["revision"])
    if adapter is not None:
        _check_room_for_both(adapter, Path(training_args.output_dir))
    tokenizer = load_tokenizer(name, **loading)
    for field in (SCORER, REFERENCE_MODEL):
        if vars(training_args)[field] is not None:
            check_same_tokenizer(field, vars(training_args)[field], tokenizer)
    how = Tokenising.of(training_args)
    template = how.template(tokenizer)
    with_test = training_args.eval_strategy != "no"
    loaded = [
        load_rows(script_args, dataset_args, kind)
        for kind in ("train", *(["test"] if with_test else []))
    ]
    where = loaded[0][1]
    with_images = has_images(loaded[0][0])
    train_dataset, *tests = [
        image_rows(rows, name)
        if with_images
        else ready_rows(rows, name, tokenizer, how, training_args.dataset_num_proc)
        for rows, name in loaded
    ]
    processor: Any = load_processor(name, **loading) if with_images else tokenizer
    options = {
        **loading,
        "dtype": model_args.dtype,
        "attn_implementation": model_args.attn_implementation,
        "quantization_config": get_quantization_config(model_args),
        **(training_args.model_init_kwargs or {}),
    }
    training_args.model_init_kwargs = None
    model = load_causal_lm(name, **options)
    size = vocabulary_of(model)
    for data, (_, name_of_data) in zip((train_dataset, *tests), loaded, strict=True):
        check_vocabulary(data, size, name_of_data)
    if adapter is not None:
        new = "a new adapter" if model_args.use_peft else "the whole model"
        tell(training_args, f"{name} is merged into its base {adapter.base}; {new} is trained")
    if model_args.use_peft and (adapter is not None or name.endswith(".gguf")):
        _save_base(model, processor, training_args)
    on_hub = pushing("--push_to_hub: the Hub does not take the model")
    with preparing(train_dataset, where, tokenizer, None if with_images else template), on_hub:
        trainer = QTuningTrainer(
            model,
            training_args,
            train_dataset=train_dataset,
            eval_dataset=tests[0] if tests else None,
            processing_class=processor,
            peft_config=get_peft_config(model_args),
        )
    tell_findings(trainer)
    try:
        with stop_on_signals(trainer):
            trainer.train(resume_from_checkpoint=_resume(training_args.resume_from_checkpoint))
    except StoppedError:
        trainer.accelerator.end_training()
        raise
    folder, data_name = Path(training_args.output_dir), _on_the_hub(script_args.dataset_name)
    with room_for(folder):
        # Before the model: PEFT adds what it knows to a card that is there.
        trainer.create_model_card(folder.resolve().name, dataset_name=data_name)
        trainer.save_model(training_args.output_dir, _internal_call=True)  # which does not push
    trainer.accelerator.print(f"Model saved to {training_args.output_dir}.")
    if training_args.push_to_hub:
        with pushing(f"--push_to_hub: {folder} holds the model, which was not pushed"):
            trainer.push_to_hub(dataset_name=data_name)
    trainer.accelerator.end_training()


def _on_the_hub(name: str | None) -> str | None:
    """The name of the data if they are on the Hub, so that a card can link to them; else None."""
    return None if name is None or Path(name).expanduser().exists() else name


def _check_room_for_both(adapter: Adapter, folder: Path) -> None:
    """Check that a run writes over neither the adapter that it begins with nor its base.

    Raises:
        UsageError: One of them lies in the output folder.
    """
    folder = folder.resolve()
    for path in (adapter.folder, path_of(adapter.base, "base_model_name_or_path")):
        if folder in (path.resolve(), *path.resolve().parents) and path.exists():
            raise UsageError(
                f"--output_dir {folder}: holds {path}, with which the run begins: name another "
                "folder"
            )


def _save_base(model: PreTrainedModel, tokenizer: Any, training_args: QTuningConfig) -> None:
    """Save a base that is in no folder, so that the base of the new adapter can be loaded.

    It was unpacked from a GGUF file, or an adapter was merged into it.
    """
    folder = (Path(training_args.output_dir) / "base_model").resolve()
    if training_args.process_index == 0:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    model.name_or_path = model.config.name_or_path = str(folder)


def _resume(value: str | None) -> str | bool | None:
    """Convert ``--resume_from_checkpoint``: a path, or a truth value as text."""
    if value is None:
        return None
    return {"true": True, "false": False}.get(value.lower(), value)
