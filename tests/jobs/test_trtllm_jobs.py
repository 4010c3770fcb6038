"""TensorRT-LLM builds through the queue: ModelOpt and verify for real, trtllm-build and the engine by the stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes.trtllm_install import install, with_driver
from tests.workers.modelopt.models import make_model
from workbench.core.artifact import read_provenance, runs_here, verification
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.job import JobState
from workbench.core.messages import Sampling
from workbench.core.model import read_model
from workbench.core.plan import Plan
from workbench.core.preset import apply_overrides, find_preset
from workbench.jobs import client
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.jobs.folder import JobFolder
from workbench.toolchains import get
from workbench.toolchains.base import EngineRequest, Environment
from workbench.toolchains.environments import best_environment
from workbench.toolchains.planner import Digests, digest_of, make_request, plan_build

pytestmark = pytest.mark.slow
INTERPRETERS = {"today": "WORKBENCH_TEST_MODELOPT", "0.37": "WORKBENCH_TEST_MODELOPT_OLD"}
SMALL = ("calibration.samples=32", "calibration.length=32", "calibration.batch_size=8", "limits.max_seq_len=256")
SECONDS = 300.0


@pytest.fixture(scope="session")
def trtllm_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("trtllm") / "venv")


def environment_of(home: Home, python: Path, version: str) -> Environment:
    modelopt = os.environ.get(INTERPRETERS[version])
    if not modelopt:
        pytest.skip(f"{INTERPRETERS[version]} names no interpreter with ModelOpt")
    named = {"WORKBENCH_TENSORRT_LLM_PYTHON": str(python), "WORKBENCH_MODELOPT_PYTHON": modelopt}
    found = best_environment(get("tensorrt_llm"), home, named)
    assert found.usable, found.lacks
    return found


def here(count: int) -> tuple[GpuSpec, ...]:
    return tuple(find_gpu("H100").model_copy(update={"index": index}) for index in range(count))


def plan_of(home: Home, model: Path, environment: Environment, preset: str, *overrides: str) -> Plan:
    chosen = apply_overrides(find_preset(preset), [*SMALL, *overrides])
    spec = read_model(model)
    request = make_request(
        chosen,
        spec,
        precisions=(chosen.precision.weights.value,),
        home=home,
        environment=environment,
        host=read_host(),
        digest=digest_of(spec, Digests(lambda stamp: None, lambda stamp, digest: None)),
        detected=here(chosen.gpus),
    )
    return plan_build(get("tensorrt_llm"), request)


def run(home: Home, plan: Plan) -> tuple[JobFolder, JobState]:
    folder = client.start(home, plan)
    return folder, client.wait(folder, SECONDS)


@pytest.mark.parametrize(
    ("family", "preset", "version", "overrides"),
    [
        ("llama", "trtllm-bf16", "today", ("parallel.tp=2",)),
        ("qwen2", "trtllm-fp16", "0.37", ("parallel.pp=2",)),
    ],
)
def test_from_a_model_folder_to_an_answer(
    home: Home,
    tmp_path: Path,
    trtllm_python: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    preset: str,
    version: str,
    overrides: tuple[str, ...],
) -> None:
    for name, value in with_driver({"PATH": os.environ["PATH"]}).items():
        monkeypatch.setenv(name, value)
    model = make_model(tmp_path / family, family)
    environment = environment_of(home, trtllm_python, version)
    folder, state = run(home, plan_of(home, model, environment, preset, *overrides))
    assert state.status == "done", f"{state.failure}\n{folder.log_path.read_text()[-3000:]}"
    engine = Path(state.artifacts[-1])
    ranks = sorted(path.name for path in engine.glob("rank*.engine"))
    assert ranks == ["rank0.engine", "rank1.engine"]
    provenance = read_provenance(engine)
    assert [record.kind for record in provenance.steps] == ["convert", "verify", "build"]
    verified = verification(engine, provenance)
    assert verified is not None and verified.result["layout_logit_error"] < 1e-3
    assert runs_here(provenance, "", ((9, 0), (9, 0))) == (True, "")
    assert runs_here(provenance, "", ((8, 9), (8, 9)))[0] is False

    start = get("tensorrt_llm").host(EngineRequest(engine, provenance, environment, find_preset(preset)))
    command = HostCommand(argv=start.argv, env=start.env, cwd=str(home.root), spec=start.spec)
    with EngineClient.start(command, tmp_path / "host.log", timeout_s=60) as engine_client:
        assert engine_client.ready.limits["max_seq_len"] == 256
        answer = engine_client.submit(prompt="What is a KV cache?", sampling=Sampling(max_tokens=5)).result()
        assert answer.failure is None and answer.output_tokens == 5
