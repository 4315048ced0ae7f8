"""The kernel of CUDA's head compiles; what it computes is tested on a GPU, and by its twin."""

from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")


@pytest.mark.parametrize("more", [False, True])
def test_the_kernel_compiles_for_a_gpu_that_is_not_there(more):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from qtuning.core import cuda_kernel

    signature = {
        "logits": "*fp32",
        "row_stride": "i32",
        "gold": "*i64",
        "out": "*fp32",
        "out_stride": "i32",
        "vocabulary": "i32",
        "MORE": "constexpr",
        "BLOCK": "constexpr",
    }
    constants = {"MORE": more, "BLOCK": 2048}
    source = ASTSource(fn=cuda_kernel._fold, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert compiled.asm["cubin"]
