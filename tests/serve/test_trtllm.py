"""A TensorRT-LLM engine served by trtllm-serve behind the front door; both are the stand-in's."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.fakes.trtllm import BIN
from tests.fakes.trtllm_engines import make_trtllm_engine
from tests.fakes.trtllm_install import install
from tests.serve.test_process import ask, lives
from workbench.core.errors import BadInputError, BlockedError, StepFailedError
from workbench.core.gpu import find_gpu
from workbench.core.home import Home
from workbench.core.serving import ServeSpec
from workbench.jobs.engine import EngineClient
from workbench.serve import client
from workbench.serve.client import ServeRequest
from workbench.serve.plans import named_link, plan_of, program_command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trtllm-serve")
    install(folder / "venv")
    make_trtllm_engine(folder / "engine", tp=2, preset={"runtime": {"kv_blocks": 64, "prefix_caching": True}})
    return folder


@pytest.fixture
def engine(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_TENSORRT_LLM_PYTHON", str(place / "venv" / "bin" / "python"))
    monkeypatch.setenv("PATH", f"{BIN}:/usr/bin:/bin")
    return place / "engine"


KEY = "ewb-a-key-of-the-test"


def spec_of(home: Home, engine: Path, *, has_key: bool = False) -> ServeSpec:
    return client.prepare(home, ServeRequest(engine, port=0, model="tiny model"), has_key=has_key)


def test_two_ranks_answer_through_the_door_and_end_with_it(home: Home, engine: Path) -> None:
    folder = client.start(home, spec_of(home, engine, has_key=True), KEY)
    state = client.wait_ready(folder, 60)
    assert state.status == "ready", state.failure
    own = state.argv[state.argv.index("--port") + 1]
    assert [words for words in state.problems if f"listens on 127.0.0.1:{own} and knows no key" in words]
    assert (state.toolchain, state.program) == ("tensorrt_llm", "trtllm-serve 1.2.1")
    assert state.argv[:5] == (
        "trtllm-serve",
        "serve",
        str(folder.path / "engine" / "tiny model"),
        "--backend",
        "tensorrt",
    )
    body = {"model": "tiny model", "prompt": "hello", "max_tokens": 6}
    assert ask(state.url, body)[0] == 401
    status, answer = ask(state.url, body, KEY)
    # Its answer comes back unchanged, under the name that was asked for.
    assert status == 200 and answer["model"] == "tiny model" and answer["usage"]["completion_tokens"] == 6, answer
    request = urllib.request.Request(
        f"{state.url}/chat/completions",
        json.dumps({"model": "tiny model", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=20) as stream:
        lines = [line for line in stream.read().decode().split("\n\n") if line]
    assert lines[-1] == "data: [DONE]" and len(lines) > 10
    assert ask(state.url, {**body, "model": "another"}, KEY)[0] == 404
    family = psutil.Process(state.pid).children(recursive=True)
    programs = [" ".join(each.cmdline()) for each in family]
    assert any("tensorrt_llm.commands.serve" in argv for argv in programs) and len(programs) >= 3, programs
    assert client.stop(folder)
    ended = client.wait_ended(folder, 30)
    assert ended.status == "stopped", ended.failure
    assert not any(lives(each) for each in family)
    reading = ended.reading
    assert reading is not None and reading.completed == 2 and reading.output_tokens == 22
    log = folder.log_path.read_text()
    assert "Uvicorn running" in log and "primary blocks=64" in log and '"GET /health' not in log


@pytest.mark.parametrize(
    ("option", "words"),
    [(("GPUS", "1"), "needs 2 GPUs"), (("SERVE_EXITS", "1"), "ended by itself")],
)
def test_what_goes_wrong_is_said(
    home: Home, engine: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str], words: str
) -> None:
    monkeypatch.setenv(f"TRTLLM_STANDIN_{option[0]}", option[1])
    folder = client.start(home, spec_of(home, engine))
    state = client.wait_ended(folder, 60)
    assert state.status == "failed" and state.failure is not None
    assert words in state.failure.what, state.failure
    assert state.failure.fix


def test_flags_that_it_does_not_take_are_said(home: Home, engine: Path, tmp_path: Path) -> None:
    made = program_command(home, plan_of(home, engine, ()), tmp_path, "tiny")
    spec = made.command.spec
    argv = ["--max_batch" if word == "--max_batch_size" else word for word in spec.settings["argv"]]
    command = made.command.model_copy(update={"spec": spec.model_copy(update={"settings": {"argv": argv}})})
    with pytest.raises(StepFailedError, match="does not take these flags") as caught:
        EngineClient.start(command, tmp_path / "log.txt", timeout_s=60)
    assert "No such option: --max_batch" in caught.value.evidence
    plain = [word for word in spec.settings["argv"] if word not in ("--backend", "tensorrt")]
    command = made.command.model_copy(update={"spec": spec.model_copy(update={"settings": {"argv": plain}})})
    with pytest.raises(StepFailedError, match="ended by itself") as refused:
        EngineClient.start(command, tmp_path / "log.txt", timeout_s=60)
    assert "not for the PyTorch backend" in refused.value.evidence


def test_what_can_be_seen_before_is_refused_before(home: Home, engine: Path, tmp_path: Path) -> None:
    h100 = find_gpu("H100")
    with pytest.raises(BlockedError, match="needs 2 GPUs"):
        plan_of(home, engine, (), detected=lambda: (h100,)).check()
    with pytest.raises(BlockedError, match="built for another GPU") as other:
        plan_of(home, engine, (), detected=lambda: (find_gpu("A100"),) * 2).check()
    assert "H100" in other.value.evidence and "8.0" in other.value.evidence
    plan_of(home, engine, (), detected=lambda: (h100, h100)).check()
    broken = tmp_path / "broken"
    shutil.copytree(engine, broken)
    (broken / "rank1.engine").unlink()
    with pytest.raises(BadInputError, match="lacks 1 of its 2 ranks"):
        spec_of(home, broken)
    bare = tmp_path / "bare"
    shutil.copytree(engine, bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    provenance = (bare / "provenance.json").read_text()
    (bare / "provenance.json").write_text(provenance.replace("engine-model", "gone"))
    with pytest.raises(BadInputError, match="has no tokenizer"):
        spec_of(home, bare)
    assert not home.serving.exists()


def test_a_name_that_no_file_can_have_needs_no_link(tmp_path: Path, engine: Path) -> None:
    assert named_link(tmp_path, engine, "org/name") == engine
    assert named_link(tmp_path, engine, "..") == engine
    assert named_link(tmp_path, engine, "name").resolve() == engine.resolve()
    assert named_link(tmp_path, engine, "name").name == "name"
