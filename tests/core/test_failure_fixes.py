"""Which values are offered after a failure, and that the preset takes each of them."""

from __future__ import annotations

import pytest

from workbench.core.errors import Failure
from workbench.core.failure_fixes import failure_fixes
from workbench.core.preset import Preset, apply_overrides, find_preset, gallery_folders
from workbench.core.trtllm.failures import explain_failure


def preset(*overrides: str, name: str = "llama-3.1-8b-fp8-h100") -> Preset:
    return apply_overrides(find_preset(name, gallery_folders()), overrides)


def failed(code: str) -> Failure:
    return Failure(code=code, what="It failed.")


@pytest.mark.parametrize(
    ("code", "kind", "overrides", "wanted"),
    [
        ("out-of-memory", "quantize", ("calibration.batch_size=8", "calibration.length=512"),
         [("calibration.batch_size=1",), ("calibration.length=256",)]),
        ("out-of-memory", "quantize", ("calibration.batch_size=1", "calibration.length=128"), []),
        ("out-of-memory", "build", ("calibration.batch_size=8",), []),
        ("gpu-out-of-memory", "build", ("limits.max_num_tokens=8192", "limits.max_batch_size=64"),
         [("limits.max_num_tokens=4096",), ("limits.max_batch_size=32",)]),
        ("gpu-out-of-memory", "quantize", ("calibration.batch_size=4", "calibration.length=100"),
         [("calibration.batch_size=1",)]),
        ("no-fused-attention", "build", (), [('build.flags.context_fmha="disable"',)]),
        ("no-fused-attention", "build", ('build.flags.context_fmha="disable"',), []),
        ("no-mpi", "build", (), []),
    ],
)  # fmt: skip
def test_fixes_follow_from_code_step_and_values(
    code: str, kind: str, overrides: tuple[str, ...], wanted: list[tuple[str, ...]]
) -> None:
    given = preset(*overrides)
    fixes = failure_fixes(failed(code), kind, given)
    assert [fix.overrides for fix in fixes] == wanted
    for fix in fixes:
        assert fix.words and apply_overrides(given, fix.overrides).to_data() != given.to_data()


def test_a_line_of_a_builds_log_leads_to_a_value() -> None:
    failure = explain_failure(["[E] Error Code 2: OutOfMemory (Requested size was 17179869184 bytes.)"], "exit code 1")
    (first, *_) = failure_fixes(failure, "build", preset("limits.max_num_tokens=8192"))
    assert first.words == "at most 4096 tokens a batch"
