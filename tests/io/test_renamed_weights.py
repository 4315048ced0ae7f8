"""Weights that have other names in a folder than in the model."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from qtuning import UsageError
from qtuning.io.renamed_weights import load_renamed

from .. import architectures, tiny


def mixtral():
    return architectures.build("mixtral")


def upset(model) -> dict[str, torch.Tensor]:
    """The weights as they were; the model has others from here on."""
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    return before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shard", ["10GB", "20KB"])
def test_all_weights_are_read_whatever_their_names(tmp_path, dtype, shard) -> None:
    model = mixtral().to(dtype)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    before = upset(model)
    load_renamed(model, tmp_path)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {weight.dtype for weight in after.values()} == {dtype}


def test_weights_of_several_precisions_keep_theirs(tmp_path) -> None:
    model = mixtral().to(torch.bfloat16)
    model.get_output_embeddings().float()
    model.save_pretrained(tmp_path)
    before = upset(model)
    load_renamed(model, tmp_path)
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16, torch.float32}


def test_where_all_names_are_the_models_nothing_is_read_again(tmp_path) -> None:
    model = tiny.llama()
    model.save_pretrained(tmp_path)
    upset(model)
    now = {name: weight.clone() for name, weight in model.state_dict().items()}
    load_renamed(model, tmp_path)
    assert all(torch.equal(weight, now[name]) for name, weight in model.state_dict().items())


def test_a_weight_that_is_missing_is_named(tmp_path) -> None:
    model = mixtral()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    del weights["model.norm.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(UsageError, match=r"model\.norm\.weight"):
        load_renamed(model, tmp_path)
