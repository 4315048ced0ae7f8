"""Batches to the device and results to the host arrive as they left."""

import pytest
import torch

from qtuning.core.places import AnswerPlaces
from qtuning.signals.on_host import on_host
from qtuning.signals.to_device import to_device

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_goes_to_the_device_with_its_places(device: str) -> None:
    labels = torch.tensor([[-100, 4, 5]])
    batch = {"labels": labels, "places": AnswerPlaces.of(labels), "names": ["a"]}
    moved = to_device(batch, torch.device(device))
    assert isinstance(moved["places"], AnswerPlaces)
    assert {moved["labels"].device.type, moved["places"].gold.device.type} == {device}
    assert moved["places"].gold.tolist() == [4, 5]
    assert moved["names"] == ["a"]


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_come_to_the_host_in_memory_of_their_own(device: str) -> None:
    there = [torch.rand(shape, device=device) for shape in ((2, 5), (1,), (0, 2), (3, 2))]
    here = on_host(there)
    for one, other in zip(here, there, strict=True):
        assert one.device.type == "cpu"
        assert torch.equal(one, other.cpu())
        assert one.untyped_storage().nbytes() == 4 * one.numel()
