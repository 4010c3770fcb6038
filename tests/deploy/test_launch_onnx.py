"""Launch folders of ONNX Runtime and TensorRT-RTX engines: what they install, where they run, and why they do not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import trtllm
from tests.fakes.onnx_engines import make_ort_engine, make_rtx_engine
from workbench.core.artifact import problems, read_provenance, runs_here
from workbench.core.deploy.export import Export
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.launch import LaunchOptions
from workbench.core.deploy.rtx import PROVIDER
from workbench.core.digest import file_sha256
from workbench.core.errors import BlockedError
from workbench.deploy.launch import make_launch
from workbench.deploy.write import write_export


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A launch folder of an engine for RTX 40xx and 50xx, copied to another place; the engine itself is gone."""
    place = tmp_path_factory.mktemp("rtx")
    engine = make_rtx_engine(place / "engine")
    out = write_export(make_launch(read_engine_facts(engine), LaunchOptions()), place / "out")
    shutil.rmtree(engine)
    return out.rename(place / "elsewhere")


def text_of(export: Export, path: str) -> str:
    return next(text.text for text in export.texts if text.path == path)


def requirements(export: Export) -> list[str]:
    return text_of(export, "requirements.txt").splitlines()


def test_an_rtx_engine_says_what_runs_it(folder: Path) -> None:
    facts = read_engine_facts(folder / "engine")
    assert (facts.toolchain_version, facts.targets, facts.on_gpu, facts.gpus) == (
        "1.7.1.116",
        ("8.9", "12.0"),
        True,
        1,
    )
    assert (facts.dtype, facts.kv_cache, facts.max_seq_len, facts.vocab_size) == ("fp16", "fp16", 128, 96)
    readme = (folder / "README.md").read_text()
    for said in (
        "compute capability 8.9 or 12.0 (",
        "RTX 4090, ",
        "RTX 5090",
        "580",
        "TensorRT-RTX 1.7.1.116",
        "Hopper",
    ):
        assert said in readme, said
    assert f"{PROVIDER} 0.5.0" in readme and "Python 3.11 to 3.12" in readme
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert lines[:3] == [
        "onnxruntime-gpu[cuda,cudnn]==1.31.1; sys_platform == 'linux'",
        "onnxruntime-genai-cuda==0.18.0; sys_platform == 'linux'",
        "tokenizers==0.22.2; sys_platform == 'linux'",
    ], "ONNX Runtime's versions are those of the convert step"
    assert f"{PROVIDER}==0.5.0; sys_platform == 'linux'" in lines


def test_what_arrives_is_what_was_built(folder: Path) -> None:
    """The provenance comes along, so that the other workbench tells the same engine, by its own sums."""
    provenance = read_provenance(folder / "engine")
    assert problems(folder / "engine", provenance) == []
    for entry in provenance.files:
        assert file_sha256(folder / "engine" / entry.path) == entry.sha256
    assert {"engine.trt", "model_ctx.onnx", "model.onnx", "model.onnx.data"} <= {e.path for e in provenance.files}
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    assert runs_here(provenance, "c", ((8, 9),)) == (True, "")
    runs, reason = runs_here(provenance, "c", ((9, 0),))
    assert not runs and "Hopper" in reason


def checked(folder: Path, tmp_path: Path, *, smi: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    """check-rtx.sh on a machine whose GPUs are the stand-in's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    if smi:
        (programs / "nvidia-smi").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{trtllm.BIN / "nvidia-smi"}" "$@"\n')
        (programs / "nvidia-smi").chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), **more}
    return subprocess.run(
        [folder / "check-rtx.sh"], env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("sm", "gpu"), [("89", "NVIDIA GeForce RTX 4090"), ("120", "NVIDIA GeForce RTX 5090")], ids=["4090", "5090"]
)
def test_it_runs_on_the_cards_that_it_was_compiled_for(folder: Path, tmp_path: Path, sm: str, gpu: str) -> None:
    done = checked(folder, tmp_path, TRTLLM_STANDIN_SM=sm, TRTLLM_STANDIN_GPU=gpu, TRTLLM_STANDIN_GPUS="1")
    assert (done.returncode, done.stderr) == (0, "") and f"ok    {gpu} ({sm[:-1]}.{sm[-1]})" in done.stdout


@pytest.mark.parametrize(
    ("sm", "said"),
    [
        ("90", "TensorRT-RTX does not support compute capability 9.0 (Hopper) at all"),
        ("100", "does not support compute capability 10.0 (Blackwell of data centres) at all"),
        ("86", "build it again with 8.6 among its targets"),
    ],
)
def test_it_says_why_not_elsewhere(folder: Path, tmp_path: Path, sm: str, said: str) -> None:
    done = checked(folder, tmp_path, TRTLLM_STANDIN_SM=sm, TRTLLM_STANDIN_GPU="NVIDIA X", TRTLLM_STANDIN_GPUS="1")
    assert done.returncode == 3 and said in done.stderr and "8.9 12.0" in done.stderr, done.stderr
    (tmp_path / "again").mkdir()
    anyway = checked(folder, tmp_path / "again", TRTLLM_STANDIN_SM=sm, TRTLLM_STANDIN_GPUS="1", ANYWAY="1")
    assert anyway.returncode == 0 and said in anyway.stderr


@pytest.mark.parametrize("smi", [True, False])
def test_without_a_gpu_the_onnx_model_runs_on_the_cpu(folder: Path, tmp_path: Path, smi: bool) -> None:
    if not smi and shutil.which("nvidia-smi", path="/usr/bin:/bin"):
        pytest.skip("this machine has a driver")
    done = checked(folder, tmp_path, smi=smi, TRTLLM_STANDIN_GPUS="0")
    assert done.returncode == 0 and "runs the ONNX model on the CPU" in done.stdout, done.stderr


def test_an_old_driver_is_refused(folder: Path, tmp_path: Path) -> None:
    done = checked(folder, tmp_path, TRTLLM_STANDIN_SM="89", TRTLLM_STANDIN_DRIVER="570.86.10")
    assert done.returncode == 3 and "driver 570.86.10 is older than 580" in done.stderr


def test_a_precision_that_a_cpu_lacks_wants_its_gpu(tmp_path: Path) -> None:
    engine = make_rtx_engine(tmp_path / "engine", "nvfp4", ("12.0",))
    export = make_launch(read_engine_facts(engine), LaunchOptions())
    assert any("does not run" in note for note in export.notes) and "cannot run NVFP4" in text_of(export, "README.md")
    done = checked(write_export(export, tmp_path / "out"), tmp_path, TRTLLM_STANDIN_GPUS="0")
    assert done.returncode == 3 and "cannot run a model of this precision on a CPU" in done.stderr


def test_the_run_script_asks_it_before_anything_is_installed(folder: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{trtllm.BIN / "nvidia-smi"}" "$@"\n')
    (programs / "nvidia-smi").chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "VENV": str(tmp_path / "venv")}
    done = subprocess.run([folder / "run.sh"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3 and "Hopper" in done.stderr and "ok    checksums" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_either_distribution_of_the_same_modules_will_do(folder: Path, tmp_path: Path) -> None:
    """An interpreter with ONNX Runtime for a CPU, of the versions that the engine's own environment had."""
    site = tmp_path / "site"
    for name, version in (("onnxruntime", "1.31.1"), ("onnxruntime_genai_cuda", "0.17.0"), ("tokenizers", "0.22.2")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "READY_PYTHON": str(python), "SKIP_SUMS": "1"}
    done = subprocess.run([folder / "run.sh"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert "ok    onnxruntime 1.31.1" in done.stdout
    assert "onnxruntime-genai-cuda 0.17.0 for" in done.stderr and "made with 0.18.0" in done.stderr
    assert PROVIDER not in done.stderr, "only a machine with a card needs it"


@pytest.mark.parametrize(
    ("gpu", "failed", "fix"),
    [
        ("RTX 4090", [], ""),
        ("RTX 6000 Ada", [], ""),
        ("RTX 3090", ["the GPU is one that it was compiled for"], "8.6 among build.flags.targets"),
        ("H100", ["the GPU is one that it was compiled for"], "Hopper"),
    ],
)
def test_the_kind_of_gpu_there_is_checked_before_it_is_written(
    tmp_path: Path, gpu: str, failed: list[str], fix: str
) -> None:
    facts = read_engine_facts(make_rtx_engine(tmp_path / "engine"))
    export = make_launch(facts, LaunchOptions(gpu=gpu))
    assert [check.name for check in export.failed] == failed
    assert not any("Not used" in note for note in export.notes)
    if failed:
        with pytest.raises(BlockedError) as error:
            write_export(export, tmp_path / "out")
        assert fix in error.value.fix and gpu.split()[-1] in error.value.evidence


def test_a_card_that_the_provider_refuses_is_no_place_for_it(tmp_path: Path) -> None:
    facts = replace(read_engine_facts(make_rtx_engine(tmp_path / "engine")), targets=("8.0", "8.9"))
    (failed,) = make_launch(facts, LaunchOptions(gpu="A100 80GB")).failed
    assert "8.6 and newer, not on 8.0" in failed.found and "ONNX Runtime or TensorRT-LLM" in failed.fix


def test_an_engine_that_nothing_can_load_any_more_is_refused(tmp_path: Path) -> None:
    engine = make_rtx_engine(tmp_path / "engine", versions={"tensorrt-rtx-cu13-libs": "1.2.0.54"})
    (failed,) = make_launch(read_engine_facts(engine), LaunchOptions()).failed
    assert "1.2.0.54" in failed.found and "1.7" in failed.fix


def test_an_onnx_runtime_engine_of_the_cpu(tmp_path: Path) -> None:
    export = make_launch(read_engine_facts(make_ort_engine(tmp_path / "engine", "int4")), LaunchOptions())
    assert not export.failed and requirements(export)[:3] == [
        "onnxruntime==1.31.1",
        "onnxruntime-genai==0.18.0",
        "tokenizers==0.22.2",
    ]
    assert "check-rtx.sh" not in [text.path for text in export.texts] and "deploy:" not in text_of(
        export, "compose.yaml"
    )
    assert "- toolchain: ONNX Runtime 1.31.1" in text_of(export, "README.md")


def test_an_onnx_runtime_engine_of_a_gpu(tmp_path: Path) -> None:
    versions = {"onnxruntime-gpu": "1.31.1", "onnxruntime-genai-cuda": "0.18.0"}
    engine = make_ort_engine(tmp_path / "engine", device="cuda", versions=versions)
    export = make_launch(read_engine_facts(engine), LaunchOptions())
    assert not export.failed and requirements(export)[0].startswith("onnxruntime-gpu[cuda,cudnn]==1.31.1")
    assert not any(PROVIDER in line for line in requirements(export)), "TensorRT-RTX has no part in it"
    settings = text_of(export, "settings.sh")
    assert "'onnxruntime|onnxruntime-gpu=1.31.1'" in settings and "GPUS_PER_NODE=1" in settings
    assert "count: 1" in text_of(export, "compose.yaml")
