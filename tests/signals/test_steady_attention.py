"""cuDNN's attention is left out on CUDA only, and only for a while."""

import pytest
import torch
from torch.backends import cuda

from qtuning.signals.steady_attention import steady_attention

from .. import tiny
from .test_scorer import EXAMPLES, scorer


def kernels() -> tuple[bool, ...]:
    return (
        cuda.cudnn_sdp_enabled(),
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
    )


@pytest.mark.parametrize(("device", "cudnn"), [("cuda", False), ("cpu", True), ("mps", True)])
def test_cudnn_is_left_out_on_cuda(device, cudnn) -> None:
    before = kernels()
    assert before[0]
    with steady_attention(device):
        assert kernels() == (cudnn, *before[1:])
    assert kernels() == before


def test_what_the_user_turned_off_stays_off() -> None:
    cuda.enable_flash_sdp(False)
    try:
        with steady_attention("cuda"):
            assert not cuda.flash_sdp_enabled()
            assert cuda.math_sdp_enabled()
        assert not cuda.flash_sdp_enabled()
    finally:
        cuda.enable_flash_sdp(True)


def test_errors_end_it_as_well() -> None:
    before = kernels()
    with pytest.raises(ValueError, match="x"), steady_attention("cuda"):
        raise ValueError("x")
    assert kernels() == before


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_scoring_passes_are_within_it_on_cuda(device) -> None:
    model, seen = tiny.llama(), []
    model.register_forward_pre_hook(lambda *_: seen.append(cuda.cudnn_sdp_enabled()))
    model.model.register_forward_pre_hook(lambda *_: seen.append(cuda.cudnn_sdp_enabled()))
    scorer(device_type=device)(model, model, EXAMPLES)
    assert set(seen) == {device != "cuda"}


def test_the_scores_are_the_same() -> None:
    model = tiny.llama()
    plain, steady = (scorer(device_type=d)(model, model, EXAMPLES) for d in ("cpu", "cuda"))
    for one, other in zip(plain, steady, strict=True):
        assert torch.equal(one.nll, other.nll)
