"""Against a real server on a real socket: every fault it shows ends in words, and what streamed well is counted."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.made import measure_http
from tests.fakes.openai_server import Behaviour, serving
from workbench.bench.http_target import HttpTarget
from workbench.bench.target import Ask
from workbench.core import metrics
from workbench.core.endpoint import dialect_of
from workbench.core.errors import BadInputError
from workbench.core.measure.load import Load
from workbench.core.measure.record import RequestRecord
from workbench.core.messages import ChatTurn

QUICK = Behaviour(ttft_s=0.004, itl_s=0.001)
ONE = Load(requests=1)


def one(behaviour: Behaviour, load: Load = ONE, tokens: int = 8, **options: object) -> RequestRecord:
    with serving(behaviour) as server:
        point, _ = measure_http(server.url, load, tokens, **options)  # type: ignore[arg-type]
    return point.requests[0]


def counts(request: RequestRecord) -> list[int]:
    return [chunk.tokens for chunk in request.chunks]


def test_a_stream_is_counted_and_checked_by_usage() -> None:
    request = one(QUICK)
    assert (request.end, request.error, counts(request)) == ("length", "", [1] * 8)
    assert (request.reported_tokens, request.input_tokens, request.count_source) == (8, 2, "server usage")


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(comments_every=1),
        Behaviour(crlf=True),
        Behaviour(crlf=True, comments_every=2),
        Behaviour(close=True),
        Behaviour(done=False),
        Behaviour(empty_first=False),
        Behaviour(split_writes=True),
        Behaviour(malformed_every=3),
        Behaviour(malformed_every=1, comments_every=1),
        Behaviour(jitter=0.5),
    ],
    ids=lambda one: ", ".join(name for name, value in vars(one).items() if value != getattr(Behaviour(), name)),
)
def test_oddities_of_the_stream_change_nothing(behaviour: Behaviour) -> None:
    request = one(replace(behaviour, ttft_s=0.004, itl_s=0.004))
    assert (request.end, request.error) == ("length", "")
    assert sum(counts(request)) == 8 == request.reported_tokens


def test_malformed_events_are_survived_and_counted() -> None:
    with serving(Behaviour(ttft_s=0.002, itl_s=0.001, malformed_every=2)) as server:
        point, _ = measure_http(server.url, Load(requests=20, levels=(4.0,)), 10)
    assert {request.end for request in point.requests} == {"length"}
    assert all(metrics.output_tokens(request.chunks) == 10 for request in point.requests)
    # Of five, one is a line that is no field: to be passed over as the standard says.
    assert {request.malformed for request in point.requests} == {4}


def test_an_empty_first_event_is_no_first_token() -> None:
    """vLLM's role event: were it one, TTFT would be a gap too short and ITL wrong."""
    with serving(Behaviour(ttft_s=0.05, itl_s=0.001, empty_first=True)) as server:
        point, _ = measure_http(server.url, ONE)
        served = server.served[0]
    assert len(point.requests[0].chunks) == len(served.times) == 8


def test_several_tokens_a_response_are_shared_out_so_that_the_total_is_the_servers() -> None:
    request = one(Behaviour(ttft_s=0.002, itl_s=0.001, tokens_per_chunk=3), tokens=10)
    assert len(request.chunks) == 4
    assert sum(counts(request)) == 10 and min(counts(request)) >= 1
    assert request.count_source == "server usage"


def test_exact_counts_where_the_server_can() -> None:
    by_ids = one(Behaviour(ttft_s=0.002, itl_s=0.001, tokens_per_chunk=3, ids=True), tokens=10, exact=True)
    assert (counts(by_ids), by_ids.count_source) == ([3, 3, 3, 1], "engine ids")
    running = one(Behaviour(ttft_s=0.002, itl_s=0.001, tokens_per_chunk=4), tokens=10, exact=True)
    assert (counts(running), running.count_source) == ([4, 4, 2], "server usage")


def test_without_usage_a_response_is_taken_for_a_token_and_nothing_claims_to_have_counted() -> None:
    request = one(Behaviour(ttft_s=0.002, itl_s=0.001, usage=False))
    assert (request.end, counts(request)) == ("length", [1] * 8)
    assert (request.count_source, request.reported_tokens, request.input_tokens) == (None, None, None)


def test_a_server_that_does_not_stream_answers_all_the_same() -> None:
    request = one(Behaviour(ttft_s=0.01, itl_s=0.001, streams=False))
    assert (request.end, counts(request), request.reported_tokens) == ("length", [8], 8)
    assert metrics.itl_ms(request.chunks) is None


def test_a_natural_end_is_told_from_a_length() -> None:
    asked = Behaviour(ttft_s=0.002, itl_s=0.001, natural_tokens=3)
    with serving(asked) as server:
        point, _ = measure_http(server.url, ONE, server="openai")
    assert (point.requests[0].end, counts(point.requests[0])) == ("stop", [1] * 3), "ignore_eos is not OpenAI's"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Behaviour(status=429), "429: too many requests (status 429)"),
        (Behaviour(status=429, headers=(("Retry-After", "7"),)), "; it asks to wait 7 s"),
        (Behaviour(status=404), "404: no such model or path"),
        (Behaviour(status=502, body=b"<html><title>Bad</title></html>"), "502: the server failed (Bad)"),
        (Behaviour(status=503, body=b""), "503: the server is not ready or overloaded"),
        (Behaviour(status=400, body=b"\xff\xfe\x00"), "400: the server refused the request"),
        (Behaviour(status=422, body=b'{"detail":[{"loc":["body","x"],"msg":"field required"}]}'), "x: field required"),
        (Behaviour(drop_after=3), "the stream ended early, after 3 tokens"),
        (Behaviour(error_after=3), "the server sent an error: the engine gave up"),
        (Behaviour(not_openai=True), "no event of the protocol"),
    ],
)  # fmt: skip
def test_failures_in_words(behaviour: Behaviour, words: str) -> None:
    request = one(behaviour, tokens=6)
    assert request.end == "error" and not request.completed
    assert words in request.error


def test_tokens_that_came_before_a_drop_are_kept() -> None:
    assert counts(one(Behaviour(ttft_s=0.002, itl_s=0.002, drop_after=3))) == [1, 1, 1]


def test_a_server_that_falls_silent_runs_into_the_time_out() -> None:
    with serving(Behaviour(ttft_s=0.002, itl_s=0.001, hang_after=2)) as server:
        begin = time.monotonic()
        point, _ = measure_http(server.url, Load(requests=1, timeout_s=0.15))
        assert time.monotonic() - begin < 2
        until = time.monotonic() + 2
        while not server.served[0].aborted and time.monotonic() < until:
            time.sleep(0.01)
        assert server.served[0].aborted, "the connection was closed, so that the server stops"
    request = point.requests[0]
    assert (request.end, counts(request), request.error) == ("timeout", [1, 1], "no end within 0.15 s")


def test_a_server_that_goes_on_and_on_is_given_up() -> None:
    def endless(number: int) -> Behaviour:
        server.served[number].body["max_tokens"] = 10**6  # it takes no notice of what was asked for
        return Behaviour(ttft_s=0.0, itl_s=0.0)

    with serving(QUICK) as server:
        server.choose = endless
        point, _ = measure_http(server.url, ONE, tokens=4)
        until = time.monotonic() + 2
        while not server.served[0].aborted and time.monotonic() < until:
            time.sleep(0.01)
        assert server.served[0].aborted
    assert point.requests[0].end == "error" and "it goes on and on" in point.requests[0].error


def test_nothing_there_and_no_such_name() -> None:
    with serving(QUICK) as server:
        url = server.url
    point, _ = measure_http(url, ONE)
    assert point.requests[0].error.startswith("nothing listens at 127.0.0.1:")
    point, _ = measure_http("http://no-such-host.invalid/v1", ONE)
    assert point.requests[0].error == "the name no-such-host.invalid is not known"


def test_a_name_with_several_addresses_and_nothing_at_any(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    hosts = ("127.0.0.1", "127.0.0.2")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)
    point, _ = measure_http(f"http://box.invalid:{port}/v1", ONE)
    assert point.requests[0].error == f"no address of box.invalid takes a connection at port {port}"


def test_what_is_no_http_and_a_url_that_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP\r\n")
                connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        point, _ = measure_http(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", ONE)
        thread.join(5)
    assert "the answer is no HTTP" in point.requests[0].error
    with pytest.raises(BadInputError):
        HttpTarget("ftp://x", "m", dialect=dialect_of("other"))
    with pytest.raises(BadInputError, match="key"):
        HttpTarget("http://x", "m", dialect=dialect_of("other"), key="a\r\nHost: b")


def test_the_key_is_sent_and_never_said() -> None:
    with serving(QUICK, key="sk-right") as server:
        point, _ = measure_http(server.url, ONE, key="sk-right")
        assert point.requests[0].completed
        point, _ = measure_http(server.url, ONE, key="sk-wrong-and-secret")
    error = point.requests[0].error
    assert error.startswith("401: the key was refused") and "Bearer ***" in error
    assert "secret" not in error


def test_connections_are_kept_and_no_more_of_them_than_requests_at_a_time() -> None:
    with serving(QUICK) as server:
        point, target = measure_http(server.url, Load(requests=40, levels=(4.0,)))
        assert server.connections == target.connections <= 4
        assert len(point.requests) == 40


def test_a_server_that_closes_before_it_answers_is_asked_once_more_on_a_kept_connection_only() -> None:
    with serving(QUICK) as server:
        once = iter([False, True])

        def choose(number: int) -> Behaviour:
            if next(once, False):  # the second request that arrives is dropped without a word
                for connection in list(server._open):
                    connection.cut()
            return QUICK

        server.choose = choose
        point, target = measure_http(server.url, Load(requests=3))
    assert [request.end for request in point.requests] == ["length"] * 3
    assert target.connections == 2


def test_a_queue_in_the_server_shows_in_ttft() -> None:
    with serving(Behaviour(ttft_s=0.01, itl_s=0.005), most_active=1) as server:
        point, _ = measure_http(server.url, Load(requests=3, levels=(3.0,)), 8)
    firsts = sorted(metrics.ttft_ms(request.t0_s, request.chunks) or 0.0 for request in point.requests)
    assert firsts[1] > firsts[0] + 30 and firsts[2] > firsts[1] + 30


def test_messages_go_to_chat_and_ids_to_completions() -> None:
    target = HttpTarget("http://h/v1", "m", dialect=dialect_of("vllm"), api="completions")
    turns = (ChatTurn(role="user", content="Grüße"),)
    assert target.request(Ask(0, 4, messages=turns)).startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n")
    assert target.request(Ask(0, 4, text="x")).startswith(b"POST /v1/completions")
    by_ids = target.request(Ask(0, 4, ids=(1, 2)))
    assert by_ids.startswith(b"POST /v1/completions") and b'"prompt":[1,2]' in by_ids
    head, _, body = target.request(Ask(0, 4, messages=turns)).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate by openssl")
def test_tls_by_an_authority_of_ones_own_and_refusal_without_it(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with serving(QUICK, tls=context) as server:
        assert server.url.startswith("https:")
        point, _ = measure_http(server.url, ONE, ca_file=str(cert))
        assert (point.requests[0].end, point.requests[0].error) == ("length", "")
        point, _ = measure_http(server.url, ONE)
        assert "the certificate of 127.0.0.1 is not trusted" in point.requests[0].error
        point, _ = measure_http(server.url, ONE, verify_tls=False)
        assert point.requests[0].completed
        point, _ = measure_http(server.url.replace("https", "http"), ONE)
        assert point.requests[0].end == "error"
    with pytest.raises(BadInputError):
        HttpTarget(server.url, "m", dialect=dialect_of("other"), ca_file=str(tmp_path / "none.pem"))
