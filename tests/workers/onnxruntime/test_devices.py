"""Where an engine is to run, and every reason why it cannot: all that is asked before a library is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workbench.core.messages import Sampling
from workbench.workers.hosts.common import RequestError
from workbench.workers.onnxruntime.answering import Pace
from workbench.workers.onnxruntime.common import cannot_load
from workbench.workers.onnxruntime.devices import ADD_ON, RTX_LIBRARY, RTX_MODULE, Place, choose, differ
from workbench.workers.onnxruntime.engine import _kv_of, _open, overlay_of, prompt_piece, provider_options
from workbench.workers.onnxruntime.settings import HostSettings, sampling_names, wish
from workbench.workers.protocol import WorkerError
from workbench.workers.tensorrt_rtx.profiles import NAMES, Input, Limits, shapes_of

GiveGpus = Callable[..., None]
FACTS = {"targets": ["8.9", "12.0"], "versions": {"tensorrt-rtx-cu13-libs": "1.7.1.116"}, "precision": "fp16"}
OPTIONS = ("temperature", "top_p", "top_k", "repetition_penalty", "random_seed")
ADA, HOPPER = "NVIDIA GeForce RTX 4090,8.9", "NVIDIA H100 80GB HBM3,9.0"
TURING, A100 = "NVIDIA GeForce RTX 2080,7.5", "NVIDIA A100-SXM4-80GB,8.0"


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
    with_gpu(HOPPER, TURING, ADA)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    other = refusal("rtx", compiled)
    assert other.code == "engine-of-other-gpu" and "9.0 (Hopper)" in other.message and "8.9, 12.0" in other.cause
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert "target 8.9" in refusal("rtx", compiled, {**FACTS, "targets": ["12.0"]}).hint, "that of the GPU that can"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")  # a GPU that fits, so that what comes after it is asked
    assert refusal("rtx", compiled).code == "no-execution-provider"
    packages(tmp_path / "site", monkeypatch, version="1.6.0", add_on=False)
    version = refusal("rtx", compiled)
    assert version.code == "engine-of-other-version"
    assert "1.7.1.116" in version.message and "1.6.0" in version.message
    same = {**FACTS, "versions": {"tensorrt-rtx-cu13-libs": "1.6.0.7"}}
    lacking = refusal("rtx", compiled, same)
    assert lacking.code == "no-execution-provider" and "onnxruntime-genai-cuda" in lacking.cause


def test_a_gpu_that_the_provider_refuses_is_passed_over_and_named(
    compiled: Path, tmp_path: Path, with_gpu: GiveGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX builds for 7.5 and 8.0; ONNX Runtime's provider of it runs from 8.6 on."""
    with_gpu(TURING, A100, ADA)
    packages(tmp_path / "site", monkeypatch)
    facts = {**FACTS, "targets": ["7.5", "8.0", "8.9"]}
    assert choose("rtx", facts, compiled).words == "GPU 2: NVIDIA GeForce RTX 4090"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    error = refusal("rtx", compiled, facts)
    assert error.code == "engine-of-other-gpu" and "8.6 and newer, not on 7.5 (Turing)" in error.message
    assert "RTX 2080" in error.cause and "another toolchain" in error.hint
    assert "8.6 and newer" in choose("auto", facts, compiled).remark


def test_auto_is_cuda_where_its_wheels_are(
    compiled: Path, tmp_path: Path, with_gpu: GiveGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(HOPPER)
    packages(tmp_path / "site", monkeypatch)
    library = ModuleType("onnxruntime")
    library.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    place = choose("auto", FACTS, compiled)
    assert (place.device, place.genai_name, place.words) == ("cuda", "cuda", "GPU 0: NVIDIA H100 80GB HBM3")
    assert "9.0 (Hopper)" in place.remark and choose("cuda", {}, tmp_path).remark == ""


def test_nvfp4_is_not_tried_by_cuda(compiled: Path, with_gpu: GiveGpus) -> None:
    with_gpu(HOPPER)
    facts = {**FACTS, "precision": "nvfp4"}
    error = refusal("cuda", compiled, facts)
    assert error.code == "not-supported" and "by CUDA" in error.message and "TensorRT-RTX" in error.cause
    assert refusal("auto", compiled, facts).code == "not-supported"


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


def built(profiles: str, **more: object) -> dict[str, Any]:
    """Facts of an engine with the profiles that the build worker makes."""
    inputs = [Input("input_ids", (-1, -1)), Input("past_key_values.0.key", (-1, 3, -1, 64))]
    limits = Limits(max_batch_size=1, max_seq_len=128, opt_prompt=64)
    made = [{"name": name, "shapes": shapes_of(name, inputs, limits)} for name in NAMES[profiles]]
    return {**FACTS, "profiles": made, **more}


def test_a_prompt_is_cut_only_where_the_same_profile_takes_the_rest() -> None:
    rtx, cpu = Place("rtx", "GPU 0: x"), Place("cpu", "CPU")
    apart, one = built("prefill+decode"), built("one")
    assert prompt_piece(256, apart, rtx) == (0, 128), "the library runs a second piece in the profile for one token"
    assert prompt_piece(256, apart, cpu) == (256, None)
    assert prompt_piece(256, one, rtx) == prompt_piece(0, one, rtx) == (128, None)
    assert prompt_piece(32, one, rtx) == (32, None)


class Library:
    """Notes what is asked of onnxruntime-genai."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def asked(*given: object) -> Library:
            if name.startswith("register"):
                assert RTX_MODULE in sys.modules, "its import loads what the library needs"
            self.asked.append((name, *map(str, given)))
            return self

        return asked


def test_the_provider_gets_the_options_of_the_engine(
    compiled: Path, tmp_path: Path, with_gpu: GiveGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(HOPPER, ADA)
    library = packages(tmp_path / "site", monkeypatch)
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    facts = built("prefill+decode", weight_streaming=True)
    place = choose("rtx", facts, compiled)
    og = Library()
    try:
        _open(og, compiled, place, {}, facts)
    finally:
        sys.modules.pop(RTX_MODULE, None)
    name = "NvTensorRtRtx"
    assert og.asked[0] == ("register_execution_provider_library", "NvTensorRTRTXExecutionProvider", str(library))
    assert og.asked[2:6] == [
        ("clear_providers",),
        ("append_provider", name),
        ("set_provider_option", name, "nv_multi_profile_enable", "1"),
        ("set_provider_option", name, "nv_weight_streaming_budget", "-1"),
    ]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-10000000-0000", "the provider would take all GPUs"
    assert provider_options(built("one", weight_streaming=False), place) == {}
    assert provider_options(facts, Place("cuda", "GPU 0: x")) == provider_options(facts, Place("cpu", "CPU")) == {}


def test_a_driver_that_is_missing_is_told() -> None:
    said = (
        "Failed to register execution provider library 'NvTensorRTRTXExecutionProvider'. Error loading \"/x.so\": "
        "libcuda.so.1: cannot open shared object file: No such file or directory"
    )
    error = cannot_load(RuntimeError(said), {"precision": "fp16"}, "GPU 0: x")
    assert error.code == "engine-load-failed" and "library" in error.message and "libcuda.so.1" in error.cause
    assert "driver" in error.hint and "FP16" not in error.hint
    none = cannot_load(
        RuntimeError("NvTensorRtRtx execution provider is not supported in this build. "), {}, "GPU 0: x"
    )
    assert none.code == "no-execution-provider" and "offers no device for GPU 0: x" in none.message


def test_the_kv_cache_of_a_bf16_engine_is_counted_without_arrays_of_it() -> None:
    decoder = {"num_hidden_layers": 30, "num_key_value_heads": 3, "head_size": 64}
    nobody: Any = None  # the library raises when it is asked for a BF16 array
    assert _kv_of(nobody, decoder, {"compute": "bf16"}, 8) == (2 * 30 * 3 * 64 * 2, "bf16")


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
