"""Words for what goes wrong with a server: it is down, slow, refuses, is no OpenAI API, or breaks off."""

from __future__ import annotations

import errno
import json
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import quote

from workbench.core.errors import Failure
from workbench.core.openai import error_body_words, shown

MASK = "•••"


def masked(text: str, key: str | None) -> str:
    """The text without the key, should a server say it back: as it is, and as JSON or a URL would write it."""
    if not key:
        return text
    for form in {key, json.dumps(key)[1:-1], quote(key, safe="")}:
        text = text.replace(form, MASK)
    return text


def status_failure(status: int, body: bytes, url: str, *, location: str = "", key: str | None = None) -> Failure:
    """An answer that is no success. `location`: where a redirect leads."""
    said = masked(error_body_words(body), key)
    evidence = f"{url}: {status}" + (f", {said}" if said else "")
    code, what, fix = _status(status, said, bool(key))
    if 300 <= status < 400 and location:
        evidence = f"{url}: {status} to {masked(location, key)}"
    return Failure(code=code, what=what, evidence=evidence, fix=fix)


def _status(status: int, said: str, with_key: bool) -> tuple[str, str, str]:
    if 300 <= status < 400:
        return (
            "endpoint-moved",
            "The server sends its callers elsewhere, and a key is not carried along.",
            "Add the endpoint with the address that it leads to.",
        )
    if status in (401, 403):
        fix = (
            "Check the key, and what it may do; `workbench endpoint key NAME` stores another."
            if with_key
            else "Give it one: `workbench endpoint add` with --key-env or --key-keyring."
        )
        what = "The server refuses the key." if with_key else "The server wants a key."
        return "endpoint-key", what, fix
    if status == 404:
        return (
            "endpoint-not-found",
            "The server does not know this address or this model.",
            "Check the URL (it mostly ends with /v1) and the model's name: `workbench endpoint test NAME` lists them.",
        )
    if status == 405:
        return (
            "endpoint-not-openai",
            "The server does not take requests at this address.",
            "Check the URL: the base URL of an OpenAI-compatible API mostly ends with /v1.",
        )
    if status == 429:
        return (
            "endpoint-busy",
            "The server takes no more requests for now.",
            "Send fewer at once, or wait; a hosted service may have a quota.",
        )
    if status in (400, 413, 415, 422):
        return "endpoint-refused", "The server refuses the request.", "Change what its words name."
    if status == 503:
        return (
            "endpoint-not-ready",
            "The server is not ready.",
            "It may still be loading its model; try again in a while.",
        )
    if status >= 500:
        return "endpoint-error", "The server failed.", "Look at its own log."
    return "endpoint-refused", "The server refuses the request.", ""


def network_failure(error: BaseException, url: str, *, waited_s: float | None = None, begun: bool = False) -> Failure:
    """A connection that failed. `begun`: part of an answer had come; `waited_s`: the limit that ran out."""
    chain = list(_chain(error))
    handshake = any(isinstance(one, ssl.SSLWantReadError | ssl.SSLWantWriteError) for one in chain)
    chain = [one for one in chain if not isinstance(one, ssl.SSLWantReadError | ssl.SSLWantWriteError)]
    names = {type(one).__name__ for one in chain}
    why = next((text for text in (shown(str(one), 200) for one in reversed(chain)) if text), type(error).__name__)
    evidence = f"{url}: {why}"
    tls = next((one for one in chain if isinstance(one, ssl.SSLError)), None)
    if tls is not None and not begun:
        return _tls_failure(tls, url)
    if any(isinstance(one, TimeoutError) for one in chain) or any(name.endswith("Timeout") for name in names):
        waited = f"nothing came for {waited_s:g} s" if waited_s is not None else why
        if handshake and not begun:
            return Failure(
                code="endpoint-tls",
                what="The server does not answer in TLS.",
                evidence=f"{url}: {waited}",
                fix="Check scheme and port: it may speak plain http there.",
            )
        if names & {"ConnectTimeout", "ConnectionTimeoutError"}:
            return Failure(
                code="endpoint-down",
                what="The server does not answer at all.",
                evidence=f"{url}: {waited}",
                fix="Check that it runs and that no firewall is between.",
            )
        return Failure(
            code="endpoint-slow",
            what="The server fell silent in the middle of an answer." if begun else "The server is too slow.",
            evidence=f"{url}: {waited}",
            fix="Send it fewer requests at once, or remove the endpoint and add it again with a longer --silence.",
        )
    if begun:
        return dropped(url, why)
    if any(isinstance(one, socket.gaierror) for one in chain):
        return Failure(
            code="endpoint-down",
            what="The server's name is not known here.",
            evidence=evidence,
            fix="Check the host in the URL.",
        )
    numbers = {one.errno for one in chain if isinstance(one, OSError)}
    if any(isinstance(one, ConnectionRefusedError) for one in chain) or errno.ECONNREFUSED in numbers:
        return Failure(
            code="endpoint-down",
            what="Nothing listens at this address.",
            evidence=evidence,
            fix="Start the server, or check host and port.",
        )
    if names & {"RemoteProtocolError", "LocalProtocolError", "BadStatusLine", "HttpParserError"}:
        return Failure(
            code="endpoint-not-openai",
            what="What answers there breaks off or does not speak HTTP.",
            evidence=evidence,
            fix="Check port and scheme: https and http are told apart.",
        )
    return Failure(
        code="endpoint-down",
        what="The server cannot be reached.",
        evidence=evidence,
        fix="Check that it runs, and the URL.",
    )


def dropped(url: str, why: str = "") -> Failure:
    """A stream that ended before its end."""
    return Failure(
        code="endpoint-dropped",
        what="The server broke off in the middle of an answer.",
        evidence=f"{url}: {why or 'the stream ended without a finish reason and without [DONE]'}",
        fix="Look at its own log; what came is kept.",
    )


def not_openai(url: str, content_type: str, beginning: bytes, key: str | None = None) -> Failure:
    """A success that is no answer of this API."""
    return Failure(
        code="endpoint-not-openai",
        what="What answers there is no OpenAI-compatible API.",
        evidence=f"{url}: {content_type or 'no content type'}, {masked(shown(beginning), key) or 'empty'}",
        fix="Check the URL: the base URL of such an API mostly ends with /v1.",
    )


def no_such_model(model: str, there: list[str], url: str) -> Failure:
    """The server serves others."""
    names = ", ".join(there[:10]) + (f" and {len(there) - 10:,} more" if len(there) > 10 else "")
    return Failure(
        code="no-such-model",
        what=f"The server has no model called {model}.",
        evidence=f"{url} lists: {names or 'none'}",
        fix="Add the endpoint with one of these names.",
    )


def _tls_failure(error: ssl.SSLError, url: str) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message or str(error)
        return Failure(
            code="endpoint-tls",
            what="The server's certificate is not trusted.",
            evidence=f"{url}: {shown(why, 200)}",
            fix="Add the endpoint with --ca-file and the authority's PEM file; --no-verify-tls trusts anybody.",
        )
    if "WRONG_VERSION_NUMBER" in str(error) or "HTTP_REQUEST" in str(error):
        return Failure(
            code="endpoint-tls",
            what="The server does not speak TLS on this port.",
            evidence=f"{url}: {shown(str(error), 200)}",
            fix="Use http:// in the URL, or the port that speaks https.",
        )
    return Failure(
        code="endpoint-tls",
        what="No secure connection could be made.",
        evidence=f"{url}: {shown(str(error), 200)}",
        fix="Check the server's certificate and its TLS versions.",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, outermost first."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__
