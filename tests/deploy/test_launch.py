"""Launch folders that are run: by the stand-in's trtllm-serve on one machine, under a real mpirun, and as a Slurm job
with its commands played."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import trtllm
from tests.fakes.interpreter import make_engine_folder, make_interpreter
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.artifact import FileEntry, problems, read_provenance, write_json
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.launch import LaunchOptions
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.plan import PlanModel
from workbench.deploy.launch import make_launch
from workbench.deploy.write import write_export


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trtllm_engine(tmp_path_factory.mktemp("launch") / "tp2", tp=2, tokenizer=False)


@pytest.fixture(scope="module")
def folder(engine: Path) -> Path:
    export = make_launch(read_engine_facts(engine), LaunchOptions(), ["runtime.kv_fraction=0.5"])
    return write_export(export, engine.with_name("launch"))


needs_mpi = pytest.mark.skipif(shutil.which("mpirun", path="/usr/bin:/bin") is None, reason="no Open MPI here")
"""The stand-in starts ranks as the real thing does: by the system's launcher."""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH folder with the stand-in's programs, this interpreter as python3, and nothing of its mpirun."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    named = {name: trtllm.BIN / name for name in ("nvidia-smi", "trtllm-serve", "trtllm-llmapi-launch")}
    for name, target in {**named, "python3": Path(sys.executable)}.items():
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
        (bin_folder / name).chmod(0o755)
    return bin_folder


def environment(programs: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PYTHONPATH": str(trtllm.SITE),
        "TRTLLM_STANDIN_PYTHON": sys.executable,
        "HOME": str(programs.parent),
        **more,
    }


def ran(program: Path, env: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *argv], env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextlib.contextmanager
def serving(program: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    log = Path(env["HOME"]) / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program], env=env, cwd="/", stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)


def test_what_is_in_it_comes_from_the_engine(folder: Path, engine: Path) -> None:
    assert (folder / "tokenizer" / "tokenizer.json").is_file()
    assert not (engine / "tokenizer.json").exists(), "the model's was taken"
    settings = (folder / "settings.sh").read_text()
    assert "--kv_cache_free_gpu_memory_fraction 0.5" in settings and "--backend tensorrt" in settings
    for word in ("--host", "--port", "--tokenizer", str(engine.parent)):
        assert word not in settings
    assert str(engine.parent) not in "".join(path.read_text() for path in folder.glob("*.*"))


def test_settings_that_are_built_in_are_refused(engine: Path) -> None:
    with pytest.raises(BadInputError, match="fixed in a built engine"):
        make_launch(read_engine_facts(engine), LaunchOptions(), ["parallel.tp=1"])


def test_a_rank_that_is_missing_is_said_before_it_is_written(engine: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(engine, tmp_path / "broken"))
    (broken / "rank1.engine").unlink()
    export = make_launch(read_engine_facts(broken, allow_missing=True), LaunchOptions(gpu="A100"))
    with pytest.raises(BlockedError) as error:
        write_export(export, tmp_path / "out")
    assert "rank1.engine" in error.value.evidence and "A100" in error.value.evidence
    assert not (tmp_path / "out").exists()


@needs_mpi
@pytest.mark.slow
def test_it_serves_and_the_smoke_test_asks_it(folder: Path, programs: Path) -> None:
    env = environment(programs, PORT=free_port(), WAIT_S="30")
    with serving(folder / "run.sh", env) as server:
        done = ran(folder / "smoke-test.sh", env)
        assert done.returncode == 0, done.stderr + (programs.parent / "server.log").read_text()
        assert "answers as tiny-fp8-tp2" in done.stdout and server.poll() is None
    assert ran(folder / "smoke-test.sh", {**env, "WAIT_S": "0"}).returncode == 1, "it went with its script"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"TRTLLM_STANDIN_GPUS": "1"}, "2 GPU(s) of compute capability 9.0 (built on NVIDIA H100 80GB HBM3)"),
        ({"CUDA_VISIBLE_DEVICES": "3"}, "1 found"),
        ({"TRTLLM_STANDIN_SM": "89", "TRTLLM_STANDIN_GPU": "NVIDIA L40S"}, "NVIDIA L40S (8.9)"),
        ({"TRTLLM_STANDIN_GPUS": "0"}, "nvidia-smi failed"),
        ({"PYTHONPATH": "", "PYTHON": "/usr/bin/env"}, "not installed"),
        ({"LISTEN": "0.0.0.0"}, "no API key"),
    ],
)
def test_what_does_not_fit_is_said_before_it_loads(
    folder: Path, programs: Path, change: dict[str, str], said: str
) -> None:
    done = ran(folder / "run.sh", environment(programs, **change))
    assert done.returncode == (2 if "LISTEN" in change else 3) and said in done.stderr, done.stderr
    assert "TensorRT-LLM version" not in done.stdout


@pytest.mark.parametrize(("driver", "old"), [("535.129.03", True), ("580.65.06", False)])
def test_an_old_driver_is_remarked_upon(folder: Path, programs: Path, driver: str, old: bool) -> None:
    done = ran(folder / "check-node.sh", environment(programs, TRTLLM_STANDIN_DRIVER=driver, SKIP_SUMS="1"))
    assert done.returncode == 0 and (f"note  driver {driver}" in done.stdout) is old, done.stdout


def test_a_port_in_use_is_said_before_the_engine_loads(folder: Path, programs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = ran(folder / "run.sh", environment(programs, PORT=port))
    assert done.returncode == 2 and f"127.0.0.1:{port} already" in done.stderr and "ok" not in done.stdout


def test_nodes_that_share_unequally_are_refused(folder: Path, programs: Path) -> None:
    hostfile = programs.parent / "hosts"
    hostfile.write_text("a max_slots=8 slots=1\nb slots=2")  # and no newline behind the last one
    done = ran(folder / "run-mpi.sh", environment(programs, HOSTFILE=str(hostfile)))
    assert done.returncode == 3 and "gives b 2 process(es) and the nodes before it 1" in done.stderr, done.stderr


def test_a_damaged_file_is_found_by_its_sum(folder: Path, programs: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    rank = damaged / "engine" / "tiny-fp8-tp2" / "rank1.engine"
    rank.write_bytes(rank.read_bytes()[:-1] + b"?")
    done = ran(damaged / "check-node.sh", environment(programs))
    assert done.returncode == 3 and "SHA256SUMS" in done.stderr
    assert ran(damaged / "check-node.sh", environment(programs, SKIP_SUMS="1")).returncode == 0
    rank.unlink()
    (damaged / "SHA256SUMS").unlink()
    done = ran(damaged / "check-node.sh", environment(programs))
    assert done.returncode == 3 and "rank1.engine is missing" in done.stderr and "SUMS is missing" in done.stderr


@pytest.mark.slow
@needs_mpi
def test_under_mpirun_every_rank_gets_its_process(folder: Path, programs: Path) -> None:
    allow = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe")
    env = environment(programs, PORT=free_port(), WAIT_S="60", **dict.fromkeys(allow, "1"))
    hostfile = programs.parent / "hosts"
    hostfile.write_text("# three of them\nlocalhost slots=3\n")
    done = ran(folder / "run-mpi.sh", {**env, "HOSTFILE": str(hostfile)})
    assert done.returncode == 3 and "gives 3 processes" in done.stderr and "tp 2 x pp 1, which is 2" in done.stderr
    with serving(folder / "run-mpi.sh", env):
        done = ran(folder / "smoke-test.sh", env)
        log = (programs.parent / "server.log").read_text()
        assert done.returncode == 0, done.stderr + log
        assert "stand-in: rank 0 of 2" in log and "stand-in: rank 1 of 2" in log


@pytest.mark.parametrize(("tasks", "code"), [("2", 0), ("1", 3), ("", 3)])
def test_a_slurm_jobs_tasks_are_counted_against_the_engine(
    folder: Path, programs: Path, tmp_path: Path, tasks: str, code: int
) -> None:
    for name, body in (("srun", f'printf "%s\\n" "srun $*" >>"{tmp_path}/ran"'), ("scontrol", "echo node7")):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    copied = tmp_path / "slurm_script"  # Slurm runs a copy of the script, elsewhere
    shutil.copy(folder / "job.sbatch", copied)
    given = {"SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "node7"}
    done = subprocess.run(
        ["bash", copied],
        env=environment(programs, SLURM_NTASKS=tasks or "0", CONTAINER="registry/image:1", **given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    if code:
        assert "tp 2 x pp 1" in done.stderr and not (tmp_path / "ran").exists()
        return
    checked, served = (tmp_path / "ran").read_text().splitlines()
    assert "--nodes=1 --ntasks=1" in checked and checked.endswith("check-node.sh 2") and "registry/image:1" in checked
    assert "srun --mpi=pmix" in served and "trtllm-llmapi-launch trtllm-serve serve" in served
    assert f"{folder}/engine/tiny-fp8-tp2 --tokenizer {folder}/tokenizer --host 127.0.0.1 --port 8000" in served
    assert "serving on node7" in done.stdout


def test_the_smoke_test_hides_its_key(folder: Path, programs: Path) -> None:
    """Nothing listens here: what matters is that curl's argv, which all users can read, never holds the key."""
    (programs / "curl").write_text(f'#!/bin/sh\necho "$*" >>"{programs}/argv"\ncase "$*" in *models*) exit 7;; esac\n')
    (programs / "curl").chmod(0o755)
    ran(folder / "smoke-test.sh", environment(programs, API_KEY="sk-very-secret", PORT=free_port()))
    argv = (programs / "argv").read_text()
    assert "/v1/models" in argv and "secret" not in argv


def test_a_pytorch_engine_takes_its_model_along(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", ".hidden"):
        (model / name).write_text(f"of {name}")
    engine = make_engine_folder(tmp_path / "engine")
    notes = {"schema_version": 1, "toolchain": "pytorch", "model": {"path": str(model), "digest": "d", "files": {}}}
    (engine / "engine.json").write_text(json.dumps(notes))
    made = read_provenance(engine)
    entry = FileEntry(path="engine.json", bytes=(engine / "engine.json").stat().st_size, sha256="")
    told = PlanModel(name="m", path=str(model), architecture="A", digest="d", parameters=1, weight_bytes=1)
    changes = {"toolchain": "pytorch", "model": told, "files": (*made.files, entry), "preset": {**made.preset}}
    changes["preset"]["toolchain"] = "pytorch"
    write_json(engine / "provenance.json", made.model_copy(update=changes))

    export = make_launch(read_engine_facts(engine), LaunchOptions())
    out = write_export(export, tmp_path / "out")
    shutil.rmtree(model)
    assert sorted(path.name for path in (out / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    facts = read_engine_facts(out / "engine")
    assert facts.provenance is not None and problems(out / "engine", facts.provenance) == []
    assert json.loads((out / "engine" / "engine.json").read_text())["model"]["path"] == "../model"
    assert facts.tokenizer is not None and facts.tokenizer.samefile(out / "model")
    assert "SERVE_ARGUMENTS=()" in (out / "settings.sh").read_text()
    assert {"accelerate", "torch"} <= set((out / "requirements.txt").read_text().split("\n"))
    with pytest.raises(BlockedError, match="check"):
        write_export(make_launch(read_engine_facts(engine), LaunchOptions()), tmp_path / "again")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A launch folder of our own server, under a name with a blank."""
    place = tmp_path_factory.mktemp("ours")
    return write_export(
        make_launch(read_engine_facts(make_engine_folder(place / "engine", weight_bytes=1000)), LaunchOptions()),
        place / "my launch",
    )


def plain(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), **more}


def test_our_server_says_what_is_wrong_before_anything_is_installed(ours: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(ours, tmp_path / "damaged"))
    (damaged / "engine" / "openvino_model.bin").write_bytes(b"?")
    done = ran(damaged / "run.sh", plain(tmp_path))
    assert done.returncode == 3 and "openvino_model.bin: FAILED" in done.stdout and "SHA256SUMS" in done.stderr
    assert not (damaged / ".venv").exists()


def test_our_server_names_the_packages_that_an_interpreter_lacks(ours: Path, tmp_path: Path) -> None:
    bare = tmp_path / "python"  # one that sees no installed package
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    done = ran(ours / "run.sh", plain(tmp_path, READY_PYTHON=str(bare), SKIP_SUMS="1"))
    assert done.returncode == 3 and "uvicorn" in done.stderr and "starlette" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_that_cannot_be_made_or_has_lost_its_python(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = plain(tmp_path, VENV=str(tmp_path / "file" / "venv"), PYTHON=sys.executable, SKIP_SUMS="1")
    done = ran(ours / "run.sh", env)
    assert done.returncode == 3 and "VENV=FOLDER" in done.stderr, done.stderr
    old = tmp_path / "old"
    (old / "bin").mkdir(parents=True)
    (old / ".ready").touch()
    (old / "bin" / "python").symlink_to("/nonexistent/python3.11")
    done = ran(ours / "run.sh", {**env, "VENV": str(old)})
    assert done.returncode == 3 and f"Remove {old}" in done.stderr, done.stderr


@pytest.mark.slow
def test_ctrl_c_lets_our_server_end_its_answers(ours: Path, tmp_path: Path) -> None:
    """The terminal tells all processes of the script, and the script tells the server: it must hear of it once."""
    python = make_interpreter(tmp_path / "python", tokens_per_s=80)
    port = free_port()
    env = plain(tmp_path, READY_PYTHON=str(python), PORT=port, SKIP_SUMS="1", ANYWAY="1", WAIT_S="40")
    with serving(ours / "run.sh", env) as server:
        asked = ran(ours / "smoke-test.sh", env)
        assert asked.returncode == 0, asked.stderr + (tmp_path / "server.log").read_text()
        body = json.dumps({"prompt": "x", "max_tokens": 60, "stream": True}).encode()
        url = f"http://127.0.0.1:{port}/v1/completions"
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
            assert answer.readline().startswith(b"data: {")
            os.killpg(server.pid, signal.SIGINT)
            rest = answer.read()
        assert rest.count(b'"text"') >= 50 and rest.endswith(b"data: [DONE]\n\n"), rest[-300:]
        assert server.wait(20) == 0
    assert "Running answers end first" in (tmp_path / "server.log").read_text()


def test_an_engine_that_guesses_ahead_says_so_to_its_server(tmp_path: Path) -> None:
    flags = {"speculative_decoding_mode": "lookahead_decoding", "max_draft_len": 83}
    preset = {"speculative": {"mode": "lookahead"}}
    engine = make_trtllm_engine(tmp_path / "ahead", "fp16", flags=flags, preset=preset)
    export = make_launch(read_engine_facts(engine), LaunchOptions())
    options = next(text.text for text in export.texts if text.path == "serve.yaml")
    assert json.loads(options)["speculative_config"]["decoding_type"] == "Lookahead"
    assert str(tmp_path) not in "".join(text.text for text in export.texts)


def test_a_draft_engine_stays_behind_and_that_is_said(tmp_path: Path) -> None:
    engine = make_engine_folder(tmp_path / "engine")
    made = read_provenance(engine)
    preset = {**made.preset, "speculative": {"mode": "draft_target", "draft": str(tmp_path / "draft")}}
    write_json(engine / "provenance.json", made.model_copy(update={"preset": preset}))
    export = make_launch(read_engine_facts(engine), LaunchOptions())
    settings = next(text.text for text in export.texts if text.path == "settings.sh")
    assert "SERVE_ARGUMENTS=(--set speculative.mode=none)" in settings
    assert any("draft" in note for note in export.notes)
