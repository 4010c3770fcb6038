"""NVFP4 rounding in plain PyTorch, so that the format can be simulated without a GPU: ModelOpt has CUDA kernels alone.

The format: blocks of 16 elements in E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6), a scale in E4M3 for each block, and one in
float32 for the tensor, amax / (6 x 448), so that the largest block's scale is the largest of E4M3.
"""

from __future__ import annotations

from typing import Any

E2M1_MAX = 6.0
E4M3_MAX = 448.0
_BOUNDS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""Between neighbouring values of E2M1; a value just on one goes to the neighbour with an even mantissa."""
_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_UP_AT_TIE = (False, True, False, True, False, True, False)


def round_e2m1(scaled: Any) -> Any:
    """Nearest value of E2M1, ties to even; what is beyond 6 becomes 6."""
    import torch

    size = scaled.abs()
    found = torch.zeros_like(size)
    for bound, value, up in zip(_BOUNDS, _VALUES[1:], _UP_AT_TIE, strict=True):
        found = torch.where((size >= bound) if up else (size > bound), torch.full_like(size, value), found)
    return torch.copysign(found, scaled)


def fake_quantize(inputs: Any, block_size: int, amax: Any) -> Any:
    """`inputs` as NVFP4 would hold them, in their own shape and dtype. `amax`: largest magnitude of the tensor, as it
    was calibrated; None: its own. The last axis is cut into blocks; a shorter last one is filled up with zeros.
    """
    import torch

    wide = inputs.float()
    most = wide.abs().amax() if amax is None else amax.float().amax()
    tensor_scale = torch.clamp(most / (E2M1_MAX * E4M3_MAX), min=torch.finfo(torch.float32).tiny)
    columns = wide.shape[-1]
    padding = -columns % block_size
    blocks = torch.nn.functional.pad(wide, (0, padding)).unflatten(-1, (-1, block_size))
    scale = blocks.abs().amax(dim=-1, keepdim=True) / E2M1_MAX / tensor_scale
    scale = torch.clamp(scale, max=E4M3_MAX).to(torch.float8_e4m3fn).float() * tensor_scale
    # A block whose scale rounds to zero holds zeros.
    held = torch.where(scale > 0, round_e2m1(blocks / torch.where(scale > 0, scale, 1.0)) * scale, 0.0)
    return held.flatten(-2)[..., :columns].to(inputs.dtype)


def use_on_cpu() -> None:
    """Have ModelOpt round tensors on the CPU by this; those on a GPU go to its own kernels."""
    from modelopt.torch.quantization import tensor_quant

    theirs = tensor_quant.dynamic_block_quantize_op

    def rounded(inputs: Any, block_size: int, amax: Any, num_bits: int, exponent_bits: int, *scale: int) -> Any:
        # E2M1 values and E4M3 scales: 4 bits of which 2 are the exponent's, 8 of which 4 are.
        if not inputs.is_cuda and (num_bits, exponent_bits, *scale) == (4, 2, 8, 4):
            return fake_quantize(inputs, block_size, amax)
        return theirs(inputs, block_size, amax, num_bits, exponent_bits, *scale)

    tensor_quant.dynamic_block_quantize_op = rounded
