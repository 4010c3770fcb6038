"""Clients that ask for too much, send too slowly, never read or go away: each is turned away alone, and it goes on."""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.serve.running import MODEL, Running, running, wait_for
from workbench.core.errors import BadInputError
from workbench.core.serving import ServeLimits
from workbench.serve.door import FrontDoor

COMPLETIONS = "/v1/completions"
LONG: dict[str, Any] = {"prompt": "x", "max_tokens": 100}


def well(server: Running) -> bool:
    """It still answers."""
    status, _, data = server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 2})
    return status == 200 and json.loads(data)["choices"][0]["text"] == "one two "


def status_of(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])


def read_all(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    connection.close()
    return b"".join(parts)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Running]:
    limits = ServeLimits(body_bytes=2048, idle_s=0.6)
    with running(tmp_path, limits, tokens_per_s=400) as made:
        yield made


# Bodies


def test_a_body_over_the_limit_is_refused_by_what_it_announces_before_it_comes(strict: Running) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 104857600\r\n\r\n"
    answer = read_all(strict.connect(head))  # not a byte of the body was sent
    assert status_of(answer) == 413
    assert b"2,048 bytes" in answer and b"connection: close" in answer
    assert well(strict)


def test_a_client_that_sends_a_hundred_megabytes_reads_its_413_and_is_cut_off(strict: Running) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 104857600\r\n\r\n"
    connection = strict.connect(head)
    sent = 0
    with contextlib.suppress(ConnectionError):
        for _ in range(1600):
            connection.sendall(bytes(65536))
            sent += 65536
    assert sent < 30_000_000, "it is not read to the end"
    assert status_of(read_all(connection)) == 413
    assert well(strict)


def test_a_body_in_chunks_is_measured_as_it_comes(strict: Running) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = read_all(strict.connect(head + b"1000\r\n" + b" " * 4096))
    assert status_of(answer) == 413
    assert well(strict)


def test_headers_without_end_and_what_is_no_http_are_refused(strict: Running) -> None:
    connection = strict.connect(b"GET / HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        for number in range(8000):
            connection.sendall(f"X-{number}: {'y' * 200}\r\n".encode())
    assert status_of(read_all(connection)) == 431
    assert status_of(read_all(strict.connect(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20))) == 400
    assert strict.ask("/health", headers={"x": "y" * 20_000})[0] == 200
    assert well(strict)


@pytest.mark.parametrize("endless", [b"0\r\n" + b"X-Trailer: y\r\n" * 60_000, b"5;" + b"x" * 800_000])
def test_trailers_and_chunks_without_end_are_cut_off(strict: Running, endless: bytes) -> None:
    connection = strict.connect(
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with contextlib.suppress(ConnectionError):
        connection.sendall(endless)
    assert status_of(read_all(connection)) == 431
    assert well(strict)
    reading = strict.call(strict.door.reading)
    assert (reading.refused, reading.aborted, reading.requests) == ({"431": 1}, 0, 2), "it is counted once"


def test_a_body_in_chunks_of_a_byte_each_is_read(strict: Running) -> None:
    body = json.dumps({"prompt": "x", "max_tokens": 2}).encode().ljust(2000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nX-Trailer: y\r\n\r\n"
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert status_of(read_all(strict.connect(head + chunks))) == 200


def test_a_wish_for_another_protocol_leaves_the_request_as_it_is(strict: Running) -> None:
    # As Java's own client asks, by default, with each request.
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAB"}
    status, _, data = strict.ask(COMPLETIONS, {"prompt": "\r\nUpgrade: x", "max_tokens": 2}, headers)
    assert (status, json.loads(data)["usage"]["completion_tokens"]) == (200, 2)
    # Where it comes in pieces it cannot be seen in time: the body must not be taken for the next request.
    connection = strict.connect(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n")
    time.sleep(0.05)
    inner = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.sendall(b"Upgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
    answer = read_all(connection)
    assert status_of(answer) == 400 and answer.count(b"HTTP/1.1") == 1
    assert well(strict)


@pytest.mark.slow
def test_bodies_are_counted_as_long_as_they_are_held(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(body_bytes=4 * 2**20, active=1), tokens_per_s=10) as server:
        held = [server.connect(server.raw(COMPLETIONS, LONG))]
        assert wait_for(lambda: server.engine_active() == 1)
        large = server.raw(COMPLETIONS, {"prompt": "x" * (4 * 2**20 - 100)})
        held += [server.connect(large) for _ in range(16)]
        assert wait_for(lambda: server.call(server.door.reading).queued == 16)
        try:
            # The head is enough: what is refused is not read, and a client that goes on sending gets a reset.
            refused = read_all(server.connect(large[:2000]))
        finally:
            for connection in held:
                connection.close()
        assert status_of(refused) == 429 and b"large requests" in refused
        assert wait_for(lambda: server.call(server.door.reading).queued == 0 and server.engine_active() == 0)
        assert well(server)


def test_a_compressed_body_is_refused(strict: Running) -> None:
    assert strict.ask(COMPLETIONS, b"x", {"content-encoding": "gzip"})[0] == 415


# Slow clients


def test_connections_that_send_nothing_or_half_a_request_are_closed(strict: Running) -> None:
    began = time.monotonic()
    silent = strict.connect()
    half_head = strict.connect(b"POST /v1/completions HTTP/1.1\r\nHost: 127.")
    half_body = strict.connect(b'POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n{"prompt')
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(read_all, (silent, half_head, half_body)))
    assert 0.5 < time.monotonic() - began < 8
    assert answers[0] == b""
    assert status_of(answers[1]) == 408
    assert status_of(answers[2]) == 403  # its host's name is looked at before its body
    whole = strict.raw(COMPLETIONS, LONG)[:-20]
    assert status_of(read_all(strict.connect(whole))) == 408
    assert well(strict)


def test_a_client_that_sends_byte_after_byte_is_not_waited_for(strict: Running) -> None:
    connection = strict.connect()
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for byte in strict.raw(COMPLETIONS, LONG):
            connection.send(bytes([byte]))
            if select.select([connection], [], [], 0.02)[0]:
                break
    assert time.monotonic() - began < 5
    assert status_of(read_all(connection)) == 408
    assert well(strict)


@pytest.mark.slow
def test_a_client_that_never_reads_is_cut_off_and_its_request_aborted(tmp_path: Path) -> None:
    limits = ServeLimits(write_s=0.4)
    with running(tmp_path, limits, tokens_per_s=50, answer=["y" * 300_000]) as server:
        connection = server.connect(server.raw(COMPLETIONS, {**LONG, "stream": True}), receive_bytes=4096)
        assert wait_for(lambda: server.engine_active() == 1)
        assert wait_for(lambda: any("unread" in words for words in server.problems)), server.problems
        assert wait_for(lambda: server.engine_active() == 0), "the engine goes on for nobody"
        reading = server.call(server.door.reading)
        assert (reading.aborted, reading.active, reading.connections) == (1, 0, 0)
        assert reading.output_tokens < 90
        connection.close()
        assert server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 2})[0] == 200


@pytest.mark.slow
def test_a_slow_reader_that_does_read_gets_its_whole_answer(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(write_s=0.3), tokens_per_s=1000, answer=["y" * 10_000]) as server:
        body = {"prompt": "x", "max_tokens": 60, "stream": True}
        connection = server.connect(server.raw(COMPLETIONS, body, "Connection: close\r\n"), receive_bytes=4096)
        received = b""
        began = time.monotonic()
        while part := connection.recv(65_536):
            received += part
            time.sleep(0.01)
        connection.close()
    assert time.monotonic() - began > 0.6, "twice the limit, or it shows nothing"
    assert received.count(b"y" * 1000) >= 60 and b"data: [DONE]" in received


# Clients that go away


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_its_request_in_the_engine(tmp_path: Path, stream: bool) -> None:
    with running(tmp_path, tokens_per_s=20) as server:
        connections = [server.connect(server.raw(COMPLETIONS, {**LONG, "stream": stream})) for _ in range(5)]
        assert wait_for(lambda: server.engine_active() == 5)
        for connection in connections[:4]:
            connection.close()
        assert wait_for(lambda: server.engine_active() == 1)
        connections[4].close()
        assert wait_for(lambda: server.engine_active() == 0)
        assert wait_for(lambda: server.call(server.door.reading).aborted == 5)
        assert sum(" 499 " in line or " 200 " in line for line in server.lines) == 5


def test_one_that_goes_away_while_it_waits_gives_up_its_place(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(active=1), tokens_per_s=40) as server:
        first = server.connect(server.raw(COMPLETIONS, LONG))
        assert wait_for(lambda: server.engine_active() == 1)
        second = server.connect(server.raw(COMPLETIONS, LONG))
        assert wait_for(lambda: server.call(server.door.reading).queued == 1)
        second.close()
        assert wait_for(lambda: server.call(server.door.reading).queued == 0)
        first.close()
        assert wait_for(lambda: server.engine_active() == 0)
        assert server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 1})[0] == 200


# Too many


def test_requests_over_the_queue_get_429_and_the_others_their_answers_in_order(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(active=2, queue=3), tokens_per_s=40) as server:
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda _: server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 6}), range(12)))
        reading = server.call(server.door.reading)
    statuses = [status for status, _, _ in found]
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) >= 5
    refused = next(each for each in found if each[0] == 429)
    assert 1 <= int(refused[1]["retry-after"]) <= 60
    assert json.loads(refused[2])["error"]["type"] == "rate_limit_error"
    assert reading.refused == {"429": statuses.count(429)} and reading.completed == statuses.count(200)
    assert reading.queue_wait.p90 is not None and reading.queue_wait.p90 > 50


@pytest.mark.slow
def test_no_more_than_the_limit_are_with_the_engine_and_the_queue_has_an_end(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(active=2, queue=10, queue_s=0.7), tokens_per_s=15) as server:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(server.ask, COMPLETIONS, {"prompt": "x", "max_tokens": 20}) for _ in range(4)]
            assert wait_for(lambda: server.call(server.door.reading).queued == 2)
            assert wait_for(lambda: server.engine_active() == 2)
            assert 'workbench_num_requests_waiting{model_name="tiny"} 2.0' in server.ask("/metrics")[2].decode()
            statuses = sorted(each.result()[0] for each in asked)
    assert statuses == [200, 200, 429, 429]


def test_connections_over_the_limit_get_503_at_once(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(connections=20), tokens_per_s=400) as server:
        held = [server.connect() for _ in range(20)]
        assert wait_for(lambda: server.call(server.door.reading).connections == 20)
        answer = read_all(server.connect(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert status_of(answer) == 503 and b"retry-after" in answer
        for connection in held:
            connection.close()
        assert wait_for(lambda: server.call(server.door.reading).connections == 0)
        assert well(server)


@pytest.mark.slow
def test_ten_thousand_connections_leave_it_serving(tmp_path: Path) -> None:
    # Both ends of a connection are in this process.
    most = min(3000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 4)
    with running(tmp_path, ServeLimits(connections=most), tokens_per_s=400) as server:
        held: list[socket.socket] = []
        try:
            for _ in range(10_000):
                with contextlib.suppress(OSError):
                    held.append(server.connect())
                if len(held) > most + 100:  # those over the limit were closed by the other side: let them go
                    held.pop(most + 50).close()
            # Those that were let go may still wait to be taken.
            assert wait_for(lambda: server.call(server.door.reading).refused.get("503", 0) >= 6500, 20)
            assert server.call(server.door.reading).connections == most
            for connection in held[:100]:
                connection.close()
            assert wait_for(lambda: server.call(server.door.reading).connections == most - 100)
            assert well(server)
        finally:
            for connection in held:
                connection.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_over_its_time_is_ended(tmp_path: Path, stream: bool) -> None:
    with running(tmp_path, ServeLimits(request_s=0.3), tokens_per_s=10) as server:
        status, _, data = server.ask(COMPLETIONS, {**LONG, "stream": stream})
        assert status == (200 if stream else 504)
        assert b'"code": "timeout"' in data
        assert wait_for(lambda: server.engine_active() == 0)


# The end


def test_nothing_is_answered_before_an_engine_is_there(tmp_path: Path) -> None:
    with running(tmp_path, attach=False) as server:
        status, headers, data = server.ask("/health")
        assert (status, json.loads(data)) == (503, {"status": "starting"}) and headers["retry-after"]
        assert server.error(COMPLETIONS, {"prompt": "x"})[1]["code"] == "starting"
        assert server.ask("/metrics")[0] == 200


@pytest.mark.slow
def test_draining_lets_running_answers_end_and_sends_new_ones_away(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(drain_s=10), tokens_per_s=40) as server:
        found: list[Any] = []
        asking = threading.Thread(
            target=lambda: found.append(server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 30}))
        )
        asking.start()
        assert wait_for(lambda: server.engine_active() == 1)
        draining = threading.Thread(target=lambda: server.call(server.door.drain))
        draining.start()
        assert wait_for(lambda: server.door.status == "draining")
        status, headers, data = server.ask(COMPLETIONS, {"prompt": "x"})
        assert (status, headers["connection"]) == (503, "close")
        assert json.loads(data)["error"]["code"] == "draining"
        assert server.ask("/health")[0] == 503
        draining.join(10)
        asking.join(10)
        assert found[0][0] == 200 and json.loads(found[0][2])["usage"]["completion_tokens"] == 30
        assert server.door.status == "stopped"
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_what_does_not_end_in_time_is_aborted_and_told_so(tmp_path: Path) -> None:
    with running(tmp_path, ServeLimits(drain_s=0.2, active=1), tokens_per_s=10) as server:
        with ThreadPoolExecutor(3) as pool:
            streamed = pool.submit(server.ask, COMPLETIONS, {**LONG, "stream": True})
            assert wait_for(lambda: server.engine_active() == 1)
            waiting = pool.submit(server.ask, COMPLETIONS, LONG)
            assert wait_for(lambda: server.call(server.door.reading).queued == 1)
            began = time.monotonic()
            server.call(server.door.drain)
            assert time.monotonic() - began < 5
            assert b'"code": "draining"' in streamed.result()[2] and b"[DONE]" not in streamed.result()[2]
            assert waiting.result()[0] == 503
        assert wait_for(lambda: server.engine_active() == 0)


def test_an_engine_that_dies_is_told_to_everyone_and_to_its_keeper(tmp_path: Path) -> None:
    with running(tmp_path, tokens_per_s=20, die_after=4) as server:
        with ThreadPoolExecutor(2) as pool:
            whole = pool.submit(server.error, COMPLETIONS, LONG)
            streamed = pool.submit(server.ask, COMPLETIONS, {**LONG, "stream": True})
            status, error = whole.result()
            assert status == 500 and error["code"] == "engine_gone" and "killed" in error["message"]
            assert b'"code": "engine_gone"' in streamed.result()[2]
        failure = server.call(server.door.failed)
        assert failure.code == "killed"
        assert server.door.status == "failed"
        assert server.error(COMPLETIONS, {"prompt": "x"})[0] == 500
        assert json.loads(server.ask("/health")[2]) == {"status": "failed"}
        reading = server.call(server.door.reading)
        assert reading.failed >= 2 and reading.active == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "box.example"])
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(BadInputError) as caught:
        FrontDoor(model=MODEL, host=host, limits=ServeLimits())
    assert caught.value.failure.code == "key-needed"


@pytest.mark.parametrize("key", ["", "short", "with a space in it", "ümläutümläut", "line\nbreak-in-it"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(BadInputError):
        FrontDoor(model=MODEL, host="127.0.0.1", limits=ServeLimits(), key=key)
