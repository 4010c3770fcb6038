"""Load on a Triton: the stand-in over HTTP, with the exported repository's own models behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.made import measure_http
from tests.fakes.triton.light import light_transformers
from tests.fakes.triton.repository import Engine, Repository
from tests.fakes.triton.server import Server, serving
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.triton.export import triton_export
from workbench.core.home import Home
from workbench.core.measure.load import Load
from workbench.core.measure.record import RequestRecord
from workbench.core.messages import Sampling
from workbench.deploy.write import write_export
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.toolchains.endpoint.folder import add_endpoint, new_spec
from workbench.toolchains.running import engine_start

pytestmark = pytest.mark.slow
MODEL = "tensorrt_llm_bls"
SAYS = [40, 83, 129, 116, 129, 255, 70]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    top = tmp_path_factory.mktemp("triton")
    facts = read_engine_facts(make_trtllm_engine(top / "engine"))
    out = write_export(triton_export(facts), top / "out")
    with light_transformers():
        made = Repository(out / "model_repository", out, {"tensorrt_llm": Engine(SAYS)})
    yield made
    made.close()


@pytest.fixture
def server(repository: Repository) -> Iterator[Server]:
    repository.engines["tensorrt_llm"] = Engine(SAYS, token_s=0.002)
    with serving(repository) as made:
        yield made


def measured(server: Server, load: Load, tokens: int = 8) -> tuple[RequestRecord, ...]:
    point, _ = measure_http(f"{server.url}/v1", load, tokens, model=MODEL, server="triton_generate", api="triton")
    return point.requests


def test_tokens_are_the_engines_and_every_one_has_its_time(server: Server) -> None:
    requests = measured(server, Load(levels=(4.0,), requests=12))
    assert [(one.end, one.error, one.count_source) for one in requests] == [("length", "", "engine ids")] * 12
    assert all(sum(chunk.tokens for chunk in one.chunks) == 8 and len(one.chunks) == 8 for one in requests)
    assert all(one.input_tokens and one.reported_tokens == 8 for one in requests)
    assert all(body["end_id"] == -1 and body["top_k"] == 1 for body in server.bodies)
    assert server.repository.engines["tensorrt_llm"].most_active >= 2


def test_faults_end_in_words(server: Server) -> None:
    server.cut_after = 3
    (cut,) = measured(server, Load(requests=1))
    assert cut.end == "error" and "ended early, after 3 tokens" in cut.error
    server.cut_after, server.error_after = None, 2
    (broken,) = measured(server, Load(requests=1))
    assert broken.error == "the server sent an error: the engine is out of memory"
    server.error_after = None
    (long,) = measured(server, Load(requests=1), tokens=5000)
    assert "the engine holds 256" in long.error


def test_the_endpoint_host_asks_triton_by_its_own_api(server: Server, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    fields = {"base_url": server.url, "model": MODEL, "api": "triton", "metrics_url": server.metrics_url}
    folder = add_endpoint(home, "triton", new_spec(**fields))
    start = engine_start(home, folder, [], {}).start
    command = HostCommand(argv=start.argv, env=start.env, cwd=str(home.root), spec=start.spec)
    with EngineClient.start(command, tmp_path / "log.txt") as client:
        assert client.ready.settings["server"] == "Triton, generate"
        assert client.ready.settings["server_version"] == "2.70.0"
        assert client.ready.limits == {"max_seq_len": 256}
        answer = client.submit(prompt="Hello", sampling=Sampling(max_tokens=7, temperature=0.0)).result()
        assert answer.failure is None and answer.text.startswith("Gr") and answer.output_tokens == 7
        assert answer.usage is not None and answer.usage.input_tokens == 5
    wrong = add_endpoint(home, "wrong", new_spec(**{**fields, "model": "nothing"}))
    start = engine_start(home, wrong, [], {}).start
    command = HostCommand(argv=start.argv, env=start.env, cwd=str(home.root), spec=start.spec)
    with pytest.raises(Exception, match="nothing") as failure, EngineClient.start(command, tmp_path / "log.txt"):
        pass
    assert MODEL in str(failure.value)
