"""The endpoint host as a process, against a server of known timings and faults."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.openai_server import Behaviour, OpenAIServer, serving
from workbench.core.endpoint import ENDPOINT_FILE, EndpointSpec
from workbench.core.messages import Log, Message, StepSpec
from workbench.jobs.engine import EngineClient, HostCommand

ROOT = Path(__file__).resolve().parents[3]
TLS = ROOT / "tests" / "data" / "tls"
FAST = Behaviour(ttft_s=0.0, itl_s=0.001)
KEY = 'sk-"hunter2/x'
Start = Callable[..., EngineClient]


def start_host(folder: Path, spec: EndpointSpec, logs: list[str] | None = None, **env: str) -> EngineClient:
    """A host that talks to what `spec` describes; what it says while it loads goes into `logs`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENDPOINT_FILE).write_text(spec.model_dump_json())
    command = HostCommand(
        argv=(sys.executable, "-m", "workbench.workers.endpoint.host"),
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **env},
        cwd=str(folder),
        spec=StepSpec(worker="endpoint.host", inputs={"engine": str(folder)}),
    )

    def note(message: Message) -> None:
        if logs is not None and isinstance(message, Log):
            logs.append(f"{message.level}: {message.text}")

    return EngineClient.start(command, folder / "log.txt", note, timeout_s=30.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(url, logs=None, env={}, **fields of the description)` -> the client of a host that ends with the test."""
    with ExitStack() as stack:

        def begin(
            url: str, logs: list[str] | None = None, env: dict[str, str] | None = None, **fields: Any
        ) -> EngineClient:
            spec = EndpointSpec.model_validate({"base_url": url, "model": "mock", **fields})
            return stack.enter_context(start_host(tmp_path / "endpoint", spec, logs, **(env or {})))

        yield begin


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    return context


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with serving(FAST) as one:
        yield one


@pytest.fixture(scope="module")
def shared_host(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    spec = EndpointSpec(base_url=server.url, model="mock", silence_s=1.0)
    with start_host(tmp_path_factory.mktemp("endpoint"), spec) as client:
        yield client


@pytest.fixture
def host(server: OpenAIServer, shared_host: EngineClient) -> Iterator[EngineClient]:
    """One host for the whole file; the server's behaviour is back to fast and faultless afterwards."""
    yield shared_host
    server.behaviour = FAST
    assert shared_host.failure is None, "no request may end the host"
