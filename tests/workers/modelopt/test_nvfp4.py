"""NVFP4 rounding in plain PyTorch: values of the format, and those of ModelOpt's own export where it is installed."""

from __future__ import annotations

import math
import subprocess

import pytest

torch = pytest.importorskip("torch")

from tests.workers.modelopt.runs import environment, interpreter  # noqa: E402
from workbench.workers.modelopt.nvfp4 import E2M1_MAX, E4M3_MAX, fake_quantize, round_e2m1  # noqa: E402

VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_AGAINST_MODELOPT = """
import torch
from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
from tests.workers.modelopt.runs import environment, interpreter  # noqa: E402
from workbench.workers.modelopt.nvfp4 import fake_quantize
torch.manual_seed(1)
for shape in ((64, 256), (3, 5, 64)):
    x = torch.randn(*shape) * torch.rand(shape[-1])
    held, scale, scale_2 = NVFP4QTensor.quantize(x.clone(), 16)
    theirs = held.dequantize(dtype=torch.float32, scale=scale, double_scale=scale_2, block_sizes={-1: 16})
    assert torch.equal(theirs, fake_quantize(x, 16, None)), (theirs - fake_quantize(x, 16, None)).abs().max()
print("equal")
"""


def test_e2m1_rounds_to_the_nearest_and_ties_to_even() -> None:
    given = torch.tensor([0.2, 0.3, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 5.1, 9.0])
    wanted = [0.0, 0.5, 0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0]
    assert round_e2m1(given).tolist() == wanted
    assert round_e2m1(-given).tolist() == [-value for value in wanted]


def test_every_value_is_one_of_the_format_and_no_nearer_one_is_there() -> None:
    torch.manual_seed(0)
    given = torch.randn(7, 64)
    held = fake_quantize(given, 16, None)
    tensor_scale = given.abs().max() / (E2M1_MAX * E4M3_MAX)
    for block, rounded in zip(given.reshape(-1, 16), held.reshape(-1, 16), strict=True):
        scale = (block.abs().max() / E2M1_MAX / tensor_scale).to(torch.float8_e4m3fn).float() * tensor_scale
        levels = torch.tensor([sign * value for value in VALUES for sign in (1, -1)]) * scale
        assert all(min(abs(levels - value)) <= 1e-6 for value in rounded)
        nearest = (levels[None, :] - block[:, None]).abs().min(dim=1).values
        assert torch.allclose((rounded - block).abs(), nearest, atol=1e-6)


def test_zeros_stay_and_a_last_block_may_be_short() -> None:
    assert fake_quantize(torch.zeros(2, 16), 16, None).abs().max() == 0
    held = fake_quantize(torch.full((1, 20), 3.0), 16, torch.tensor(3.0))
    assert held.shape == (1, 20) and torch.allclose(held, torch.full((1, 20), 3.0), rtol=0.07)
    assert fake_quantize(torch.ones(1, 16, dtype=torch.bfloat16), 16, None).dtype == torch.bfloat16


def test_a_range_that_was_calibrated_smaller_cuts_values_off() -> None:
    held = fake_quantize(torch.full((1, 16), 8.0), 16, torch.tensor(1.0))
    assert held.max() == pytest.approx(1.0)
    assert not math.isnan(float(held.sum()))


@pytest.mark.nightly
@pytest.mark.slow
def test_it_rounds_as_modelopts_export_does() -> None:
    done = subprocess.run(
        [interpreter("newest"), "-c", _AGAINST_MODELOPT],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]
