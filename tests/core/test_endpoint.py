"""Endpoint descriptions, model lists, and the words for what goes wrong with a server."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

from workbench.core.endpoint import EndpointSpec, base_url, dialect_of, read_endpoint, tls_context
from workbench.core.endpoint_models import read_models
from workbench.core.endpoint_words import (
    masked,
    network_failure,
    no_such_model,
    not_openai,
    status_failure,
)
from workbench.core.errors import BadInputError

URL = "http://box:8000/v1"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("http://box:8000", "http://box:8000/v1"),
        ("http://box:8000/", "http://box:8000/v1"),
        ("box:8000", "http://box:8000/v1"),
        (" https://api.example.com/v1/ ", "https://api.example.com/v1"),
        ("http://box/v1/chat/completions", "http://box/v1"),
        ("http://box/v1/completions/", "http://box/v1"),
        ("http://box/v1/models", "http://box/v1"),
        ("http://box/llm/api", "http://box/llm/api"),
        ("http://[::1]:80/v2", "http://[::1]:80/v2"),
    ],
)
def test_base_urls_as_people_paste_them(given: str, wanted: str) -> None:
    assert base_url(given) == wanted
    assert base_url(wanted) == wanted


@pytest.mark.parametrize(
    "given", ["", "ftp://x/v1", "http://", "http://a b/v1", "http://box:99999/v1", "http://[::1/v1", "http://x/\x1b[2J"]
)
def test_what_is_no_url_is_refused(given: str) -> None:
    with pytest.raises(ValueError):
        base_url(given)


@pytest.mark.parametrize(
    "given", ["http://me:hunter2@box/v1", "http://box/v1?key=hunter2", "http://box/v1#hunter2", "ftp://me:hunter2@box"]
)
def test_a_secret_in_a_url_is_refused_and_not_said(given: str) -> None:
    with pytest.raises(ValueError) as caught:
        base_url(given)
    assert "hunter2" not in str(caught.value)


def test_addresses() -> None:
    spec = EndpointSpec(base_url=URL, model="m")
    assert spec.url("chat") == spec.chat_url == "http://box:8000/v1/chat/completions"
    assert spec.completions_url == "http://box:8000/v1/completions"
    assert (spec.models_url, spec.root, spec.origin) == (URL + "/models", "http://box:8000", "http://box:8000")
    assert spec.plain_http
    for here in ("http://localhost:1/v1", "http://127.0.0.1/v1", "https://box/v1"):
        assert not EndpointSpec(base_url=here, model="m").plain_http


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{}", "bad-endpoint"),
        ("nonsense", "bad-endpoint"),
        ('{"base_url":"http://x/v1","model":"m","silence_s":-1}', "bad-endpoint"),
        ('{"base_url":"http://x/v1","model":"m","schema_version":99}', "newer-schema"),
    ],
)
def test_damaged_descriptions_in_words(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "engine.json").write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_endpoint(tmp_path)
    assert caught.value.failure.code == code
    with pytest.raises(BadInputError):
        read_endpoint(tmp_path / "nowhere")


def test_a_description_keeps_no_unknown_field_such_as_a_pasted_key() -> None:
    spec = EndpointSpec.model_validate({"base_url": URL, "model": "m", "api_key": "hunter2"})
    assert "hunter2" not in spec.model_dump_json()
    with pytest.raises(ValidationError):
        EndpointSpec(base_url=URL, model="m", metrics_url="file:///etc/passwd")


def test_authorities(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("no certificate")
    for path in (bad, tmp_path / "missing.pem"):
        with pytest.raises(BadInputError) as caught:
            tls_context(EndpointSpec(base_url=URL, model="m", ca_file=str(path)))
        assert caught.value.failure.code == "bad-ca-file"
    assert tls_context(EndpointSpec(base_url=URL, model="m")).verify_mode is ssl.CERT_REQUIRED
    assert tls_context(EndpointSpec(base_url=URL, model="m", verify_tls=False)).verify_mode is ssl.CERT_NONE


def test_unknown_servers_take_the_fields_of_openai_alone() -> None:
    assert dialect_of("something new") == dialect_of("other")
    assert "ignore_eos" not in dialect_of("other").fields


@pytest.mark.parametrize(
    ("data", "server", "length"),
    [
        ({"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}, "vllm", 4096),
        ({"data": [{"id": "m", "owned_by": "sglang", "max_model_len": 10}]}, "sglang", 10),
        ({"data": [{"id": "m", "owned_by": "tensorrt_llm"}]}, "trtllm", None),
        ({"data": [{"id": "m", "owned_by": "Triton Inference Server"}]}, "triton", None),
        ({"models": [], "data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 99}}]}, "llamacpp", 99),
        ({"models": [{"name": "m"}]}, "other", None),
        ({"data": [{"id": "m", "owned_by": 5, "max_model_len": "long"}]}, "other", None),
    ],
)
def test_model_lists(data: object, server: str, length: int | None) -> None:
    found = read_models(data, "m")
    assert found is not None
    assert (found.names, found.server, found.max_seq_len) == (("m",), server, length)


def test_model_lists_by_address_and_header() -> None:
    data = {"data": [{"id": "m", "owned_by": "system"}]}
    by_url = read_models(data, "m", url="https://api.openai.com/v1/models")
    by_header = read_models(data, "m", server_header="llama.cpp")
    assert by_url is not None and by_url.server == "openai"
    assert by_header is not None and by_header.server == "llamacpp"


@pytest.mark.parametrize("data", [None, 5, "x", {}, {"data": {}}, {"error": "x"}])
def test_what_is_no_model_list(data: object) -> None:
    assert read_models(data, "m") is None


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "endpoint-moved"),
        (400, "endpoint-refused"),
        (401, "endpoint-key"),
        (403, "endpoint-key"),
        (404, "endpoint-not-found"),
        (405, "endpoint-not-openai"),
        (418, "endpoint-refused"),
        (429, "endpoint-busy"),
        (500, "endpoint-error"),
        (503, "endpoint-not-ready"),
    ],
)
def test_every_status_in_words(status: int, code: str) -> None:
    failure = status_failure(status, b'{"error":{"message":"said so"}}', URL, location="http://else/")
    assert failure.code == code and failure.what
    assert str(status) in failure.evidence
    assert ("http://else/" if status == 301 else "said so") in failure.evidence


def test_a_key_that_is_missing_and_one_that_is_refused() -> None:
    without = status_failure(401, b"", URL)
    refused = status_failure(401, b'{"error":{"message":"Incorrect API key provided: sk-\\"1/2"}}', URL, key='sk-"1/2')
    assert "wants a key" in without.what and "refuses the key" in refused.what
    assert 'sk-"1/2' not in str(refused.lines()) and "•••" in refused.evidence


@pytest.mark.parametrize("form", ['sk-"1/2', 'sk-\\"1/2', "sk-%221%2F2"])
def test_a_key_is_masked_in_every_form(form: str) -> None:
    assert masked(f"a {form} b", 'sk-"1/2') == "a ••• b"
    assert masked(form, None) == masked(form, "") == form


def _caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


class ReadTimeout(Exception):
    """By its name, as a library calls it."""


class ConnectTimeout(Exception):
    """The same."""


class RemoteProtocolError(Exception):
    """The same."""


@pytest.mark.parametrize(
    ("error", "begun", "code", "word"),
    [
        (
            _caused(OSError("all failed"), ConnectionRefusedError(errno.ECONNREFUSED, "no")),
            False,
            "endpoint-down",
            "lis",
        ),
        (_caused(OSError("x"), socket.gaierror(-2, "Name or service not known")), False, "endpoint-down", "name"),
        (TimeoutError(), False, "endpoint-slow", "slow"),
        (ReadTimeout(), True, "endpoint-slow", "silent"),
        (ConnectTimeout(), False, "endpoint-down", "at all"),
        (RemoteProtocolError("peer closed"), True, "endpoint-dropped", "broke off"),
        (RemoteProtocolError("illegal"), False, "endpoint-not-openai", "HTTP"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True, "endpoint-dropped", "broke off"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), False, "endpoint-down", "reached"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
            False,
            "endpoint-tls",
            "does not speak TLS",
        ),
        (ssl.SSLError(1, "handshake failure"), False, "endpoint-tls", "secure"),
    ],
)
def test_broken_connections_in_words(error: Exception, begun: bool, code: str, word: str) -> None:
    failure = network_failure(error, URL, waited_s=3.0, begun=begun)
    assert failure.code == code
    assert word in failure.what
    assert failure.fix and URL in failure.evidence
    assert "engine.json" not in failure.fix, "an endpoint's file that is edited by hand is no whole engine any more"


def test_further_words() -> None:
    many = no_such_model("x", [f"m{i}" for i in range(12)], URL)
    assert "m9 and 2 more" in many.evidence
    page = not_openai(URL, "text/html", b"<html>\x1b[2J secret", "secret")
    assert "\x1b" not in page.evidence and "secret" not in page.evidence
