"""Where an engine is to run, and every reason why it cannot: all that is asked before a library is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.core.messages import Sampling
from workbench.workers.hosts.common import RequestError
from workbench.workers.onnxruntime.answering import Pace
from workbench.workers.onnxruntime.devices import ADD_ON, RTX_LIBRARY, RTX_MODULE, Place, choose, differ
from workbench.workers.onnxruntime.engine import overlay_of, prompt_piece
from workbench.workers.onnxruntime.settings import HostSettings, sampling_names, wish
from workbench.workers.protocol import WorkerError

GiveGpus = Callable[..., None]
FACTS = {"targets": ["8.9", "12.0"], "versions": {"tensorrt-rtx-cu13-libs": "1.7.1.116"}, "precision": "fp16"}
OPTIONS = ("temperature", "top_p", "top_k", "repetition_penalty", "random_seed")
ADA, HOPPER = "NVIDIA GeForce RTX 4090,8.9", "NVIDIA H100 80GB HBM3,9.0"


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    folder = tmp_path / "compiled"
    folder.mkdir()
    (folder / "model_ctx.onnx").touch()
    return folder


def packages(folder: Path, monkeypatch: pytest.MonkeyPatch, *, version: str = "1.7.1", add_on: bool = True) -> Path:
    """Packages that hold the files of the provider and of onnxruntime-genai, as their wheels do."""
    provider, genai = folder / RTX_MODULE, folder / "onnxruntime_genai"
    for package in (provider, genai):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    (provider / RTX_LIBRARY).touch()
    (provider / f"libtensorrt_rtx.so.{version}").touch()
    (provider / "libtensorrt_rtx.so.1").touch()
    if add_on:
        (genai / ADD_ON).touch()
    monkeypatch.syspath_prepend(str(folder))
    return provider / RTX_LIBRARY


def refusal(wanted: str, folder: Path, facts: dict[str, object] | None = None) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        choose(wanted, FACTS if facts is None else facts, folder)  # type: ignore[arg-type]
    assert caught.value.cause and caught.value.hint
    return caught.value


def test_the_compiled_engine_runs_on_the_gpu_that_it_is_for(
    compiled: Path, tmp_path: Path, with_gpu: GiveGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(HOPPER, ADA)
    packages(tmp_path / "site", monkeypatch)
    for wanted in ("auto", "rtx"):
        place = choose(wanted, FACTS, compiled)  # type: ignore[arg-type]
        assert (place.device, place.words) == ("rtx", "GPU 1: NVIDIA GeForce RTX 4090")
        assert (place.genai_name, place.provider) == ("NvTensorRtRtx", "NvTensorRTRTXExecutionProvider")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert refusal("rtx", compiled).code == "engine-of-other-gpu"


def test_each_refusal_says_what_is_wrong(
    compiled: Path, tmp_path: Path, with_gpu: GiveGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert refusal("cuda", tmp_path).code == refusal("rtx", compiled).code == "no-gpu"
    assert refusal("rtx", tmp_path).code == "not-an-rtx-engine"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with_gpu(HOPPER)
    other = refusal("rtx", compiled)
    assert other.code == "engine-of-other-gpu" and "9.0 (Hopper)" in other.message and "8.9, 12.0" in other.cause
    ampere = {**FACTS, "targets": ["9.0"]}  # a GPU that fits, so that what comes after it is asked
    assert refusal("rtx", compiled, ampere).code == "no-execution-provider"
    packages(tmp_path / "site", monkeypatch, version="1.6.0", add_on=False)
    version = refusal("rtx", compiled, ampere)
    assert version.code == "engine-of-other-version"
    assert "1.7.1.116" in version.message and "1.6.0" in version.message
    same = {**ampere, "versions": {"tensorrt-rtx-cu13-libs": "1.6.0.7"}}
    lacking = refusal("rtx", compiled, same)
    assert lacking.code == "no-execution-provider" and "onnxruntime-genai-cuda" in lacking.cause


def test_auto_falls_back_to_the_cpu_and_says_why(compiled: Path, tmp_path: Path, with_gpu: GiveGpus) -> None:
    assert choose("auto", {"device": "cpu"}, tmp_path) == Place("cpu", "CPU")
    with_gpu()
    place = choose("auto", FACTS, compiled)
    assert (place.device, place.remark) == ("cpu", "the compiled engine is not run: no NVIDIA GPU was found")
    assert refusal("auto", tmp_path, {"device": "cuda"}).code == "no-gpu"
    for precision, word in (("nvfp4", "NVFP4"), ("bf16", "BF16")):
        error = refusal("auto", compiled, {**FACTS, "precision": precision})
        assert error.code == "not-supported" and word in error.cause and "no NVIDIA GPU" in error.cause


def test_versions_differ_as_far_as_both_are_known() -> None:
    assert differ("1.7.1.116", "1.6.0") and differ("1.7.1", "1.7.2.5")
    assert not differ("1.7.1.116", "1.7.1") and not differ("", "1.7.1") and not differ("1.7.1", "")


def test_the_configuration_for_the_compiled_engine() -> None:
    rtx, cpu = Place("rtx", "GPU 0: x"), Place("cpu", "CPU")
    settings = HostSettings(num_threads=3)
    assert overlay_of(HostSettings(), cpu, 512) == {
        "model": {"context_length": 512},
        "search": {"max_length": 512, "past_present_share_buffer": False},
    }
    assert overlay_of(settings, cpu, 512)["model"]["decoder"] == {"session_options": {"intra_op_num_threads": 3}}
    assert overlay_of(settings, rtx, 512)["model"]["decoder"]["filename"] == "model_ctx.onnx"

    def profile(tokens: int, past: int) -> dict[str, object]:
        return {"shapes": {"input_ids": {"max": [1, tokens]}, "past_key_values.0.key": {"max": [1, 3, past, 64]}}}

    apart = {"profiles": [profile(512, 0), profile(1, 2047)]}
    assert prompt_piece(256, apart, rtx) == (0, 512), "the cut prompt's second piece is in no profile"
    assert prompt_piece(256, apart, cpu) == (256, None)
    assert prompt_piece(256, {"profiles": [profile(128, 2047)]}, rtx) == (128, None)
    assert prompt_piece(0, {"profiles": [profile(128, 2047)]}, rtx) == (128, None)


def test_pieces_of_a_prompt_are_as_small_as_their_time_asks() -> None:
    pace = Pace(256)
    assert (pace.piece(1000), pace.piece(10)) == (256, 10)
    pace.note(256, 0.4)
    assert pace.piece(1000) == 128
    pace.note(128, 30.0)
    assert pace.piece(1000) == 64
    pace.note(3, 0.0001)
    assert pace.piece(1000) == 64, "a prompt's short end says nothing"
    pace.note(64, 0.01)
    assert pace.piece(1000) == 256
    whole = Pace(0)
    whole.note(1000, 60.0)
    assert whole.piece(1000) == 1000


def test_sampling_in_the_librarys_words() -> None:
    names = sampling_names(OPTIONS)
    assert "min_p" not in names and {"seed", "top_k", "stop", "logprobs", "ignore_eos"} <= set(names)
    assert "min_p" in sampling_names((*OPTIONS, "min_p"))
    assert wish(Sampling(temperature=1e-50), 7, names, 100).options == {"do_sample": False}
    assert wish(Sampling(seed=-5), 7, names, 100).options == {"do_sample": False}
    drawn = wish(Sampling(temperature=0.5, top_k=10**6), 7, names, 100).options
    assert drawn == {"do_sample": True, "temperature": 0.5, "top_p": 1.0, "top_k": 100, "random_seed": -1}
    for wrong in (Sampling(temperature=1.0, seed=2**31), Sampling(temperature=1.0, seed=-1)):
        with pytest.raises(RequestError, match="seed"):
            wish(wrong, 7, names, 100)
    with pytest.raises(RequestError, match="min_p"):
        wish(Sampling(temperature=1.0, min_p=0.1), 7, names, 100)
