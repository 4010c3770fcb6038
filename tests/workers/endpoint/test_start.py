"""What the host finds at load, what it refuses, and where a key never shows."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from tests.fakes.openai_server import Behaviour, serving
from tests.workers.endpoint.conftest import FAST, KEY, TLS, Start, server_tls
from workbench.core.errors import StepFailedError
from workbench.core.messages import ChatTurn, Sampling

TURNS = [ChatTurn(role="user", content="how are you")]
HIDDEN = (KEY, KEY.replace('"', '\\"'), "sk-%22hunter2%2Fx")


def shown_nowhere(folder: Path, *texts: str) -> None:
    """Neither file of the endpoint nor any text holds the key in any form."""
    for text in (*texts, *(path.read_text("utf-8", "replace") for path in folder.rglob("*") if path.is_file())):
        assert not [form for form in HIDDEN if form in text]


@pytest.mark.parametrize("source", ["env", "keyring"])
def test_a_key_goes_into_the_header_and_nowhere_else(start: Start, tmp_path: Path, source: str) -> None:
    variable = "BOX_KEY" if source == "env" else "WORKBENCH_ENDPOINT_KEY"
    with serving(FAST, key=KEY) as server:
        client = start(server.url, env={variable: KEY}, key={"source": source, "name": "BOX_KEY"})
        answer = client.submit(messages=TURNS, sampling=Sampling(max_tokens=3)).result(10.0)
        assert answer.failure is None
        assert server.served[0].headers["authorization"] == f"Bearer {KEY}"
        assert client.hello is not None
        shown_nowhere(
            tmp_path / "endpoint",
            Path(f"/proc/{client.hello.pid}/cmdline").read_text(),
            client.ready.model_dump_json(),
            answer.text,
        )


def test_a_key_that_the_server_says_back_is_masked(start: Start, tmp_path: Path) -> None:
    with serving(FAST, key="another") as server:
        with pytest.raises(StepFailedError) as caught:
            start(server.url, env={"BOX_KEY": KEY}, key={"source": "env", "name": "BOX_KEY"})
    failure = caught.value.failure
    assert failure.code == "endpoint-key" and "•••" in failure.evidence
    shown_nowhere(tmp_path / "endpoint", str(failure))


@pytest.mark.slow
def test_a_key_that_is_not_there(start: Start) -> None:
    with serving(FAST, key=KEY) as server:
        with pytest.raises(StepFailedError) as caught:
            start(server.url, key={"source": "env", "name": "WORKBENCH_TEST_NOT_SET"})
        assert caught.value.failure.code == "no-key"
        assert "WORKBENCH_TEST_NOT_SET" in caught.value.failure.evidence
        with pytest.raises(StepFailedError) as none:
            start(server.url)
        assert "wants a key" in none.value.what


@pytest.mark.slow
def test_a_server_that_does_not_say_what_it_is(start: Start) -> None:
    logs: list[str] = []
    with serving(FAST, metrics="") as server:
        client = start(server.url, logs)
        assert client.ready.sampling == (
            "max_tokens",
            "temperature",
            "top_p",
            "seed",
            "stop",
            "logprobs",
        )
        refused = client.submit(messages=TURNS, sampling=Sampling(top_k=3)).result(5.0)
        assert refused.failure is not None and "takes no top_k" in refused.failure.what
        fixed = client.submit(messages=TURNS, sampling=Sampling(ignore_eos=True)).result(5.0)
        assert fixed.failure is not None and "length of an answer cannot be fixed" in fixed.failure.what
        assert not server.served, "nothing was sent silently changed"
        assert client.ready.kv_blocks_total is None
    told = "\n".join(logs)
    assert "/v1/models: 200" in told and "/metrics: 404" in told and "does not say what runs it" in told


def test_a_kind_that_was_given_is_not_asked_for(start: Start) -> None:
    with serving(FAST, metrics="") as server:
        client = start(server.url, server="vllm", metrics_url="none", max_seq_len=100)
        assert client.ready.sampling is not None and "ignore_eos" in client.ready.sampling
        assert client.ready.limits["max_seq_len"] == 8192, "what the server reports comes first"


def test_no_such_model_lists_those_there(start: Start) -> None:
    with serving(FAST, models=("small", "large")) as server:
        with pytest.raises(StepFailedError) as caught:
            start(server.url)
    assert caught.value.failure.code == "no-such-model"
    assert "small, large" in caught.value.evidence


def test_no_openai_api(start: Start) -> None:
    with serving(Behaviour(not_openai=True)) as server:
        with pytest.raises(StepFailedError) as caught:
            start(server.url)
    assert caught.value.failure.code == "endpoint-not-openai"


@pytest.mark.slow
def test_nobody_listens(start: Start) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with pytest.raises(StepFailedError) as caught:
            start(url)
    assert caught.value.failure.code == "endpoint-down"
    assert "Nothing listens" in caught.value.what and url in caught.value.evidence


@pytest.mark.slow
def test_tls_with_an_authority_of_ones_own(start: Start) -> None:
    with serving(FAST, tls=server_tls()) as server:
        with pytest.raises(StepFailedError) as caught:
            start(server.url)
        assert caught.value.failure.code == "endpoint-tls"
        assert "not trusted" in caught.value.what and "--ca-file" in caught.value.fix
        trusted = start(server.url, ca_file=str(TLS / "ca.pem"))
        assert trusted.submit(messages=TURNS, sampling=Sampling(max_tokens=2)).result(5.0).failure is None
        with pytest.raises(StepFailedError) as bad:
            start(server.url, ca_file=str(TLS / "missing.pem"))
        assert bad.value.failure.code == "bad-ca-file"


@pytest.mark.slow
def test_tls_that_trusts_anybody(start: Start) -> None:
    with serving(FAST, tls=server_tls()) as server:
        client = start(server.url, verify_tls=False)
        assert client.submit(messages=TURNS, sampling=Sampling(max_tokens=2)).result(5.0).failure is None


def _plain_http(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.slow
@pytest.mark.parametrize(("answers", "word"), [(True, "does not speak TLS"), (False, "does not answer in TLS")])
def test_https_to_a_port_that_speaks_http(start: Start, answers: bool, word: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_plain_http, args=(listening,))
        if answers:
            thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(StepFailedError) as caught:
            start(url, connect_timeout_s=0.2)
        if answers:
            thread.join(5.0)
    assert caught.value.failure.code == "endpoint-tls"
    assert word in caught.value.what


@pytest.mark.slow
def test_the_server_goes_away_and_comes_back(start: Start) -> None:
    with serving(FAST) as server:
        port = server.port
        client = start(server.url)
    gone = client.submit(messages=TURNS, sampling=Sampling(max_tokens=2)).result(5.0)
    assert gone.failure is not None and "Nothing listens" in gone.failure.what
    with serving(FAST, port=port):
        assert client.submit(messages=TURNS, sampling=Sampling(max_tokens=2)).result(5.0).failure is None
    assert client.failure is None


@pytest.mark.slow
def test_the_host_ends_with_its_client(start: Start) -> None:
    with serving(FAST) as server:
        client = start(server.url)
        assert client.hello is not None
        pid = client.hello.pid
        client.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
