"""A server as it is found at load: its models, what runs it, where its metrics are, and how it is to be asked."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from workbench.core.endpoint import (
    KEY_VARIABLE,
    TITLES,
    EndpointSpec,
    ServerKind,
    dialect_of,
    read_endpoint,
    tls_context,
)
from workbench.core.endpoint_models import ModelList, read_models
from workbench.core.endpoint_words import masked, network_failure, no_such_model, not_openai, status_failure
from workbench.core.errors import Failure, WorkbenchError
from workbench.core.openai import Dialect
from workbench.core.server_metrics import MetricsError, ServerState, read_metrics
from workbench.core.triton import form_of, longest_sequence, metrics_places
from workbench.workers.protocol import Channel, WorkerError

_METRICS_PLACES = ("/metrics", "/prometheus/metrics", "/v1/metrics")
_METRICS_S = 4.0
"""trtllm-serve waits up to 2 s for records."""
_METRICS_BYTES = 8 * 2**20
_EXTRAS = ("return_token_ids", "continuous_usage_stats")
_MODELS_S = 30.0
_QUESTION_S = 10.0
"""Longest wait for answers that no model makes."""


class Server:
    """A server and the connections to it."""

    def __init__(self, spec: EndpointSpec, key: str | None, channel: Channel) -> None:
        self.spec = spec
        self.channel = channel
        self._key = key
        self.models: ModelList | None = None
        self.kind: ServerKind = spec.server
        self.version = ""
        self.metrics_url = ""
        self.state = ServerState()
        """As it was when last asked."""
        self._streams_not = False
        self.takes_usage = True
        """Usage can be asked for in a stream; a server that refuses it is not asked again."""
        self._takes_extras = True
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # No redirects: a key would go where nobody meant it to.
        self.client = httpx.AsyncClient(
            verify=_tls(spec),
            headers={"User-Agent": "engine-workbench", **headers},
            follow_redirects=False,
            trust_env=not spec.local,
            timeout=httpx.Timeout(spec.silence_s, connect=spec.connect_timeout_s, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=60.0),
        )

    @property
    def dialect(self) -> Dialect:
        found = dialect_of(self.kind)
        return found if self._takes_extras else found._replace(ids_switch="", running_usage=False)

    def asks_less(self, refusal: str, sent: Mapping[str, Any]) -> bool:
        """Whether the refusal of what was sent names a field that is for counting alone: then it is sent no more."""
        words, before = refusal.lower(), (self._takes_extras, self.takes_usage)
        options = sent.get("stream_options", {})
        if any(name in words and (name in sent or name in options) for name in _EXTRAS):
            self._takes_extras = False
        elif options and ("stream_options" in words or "include_usage" in words):
            self.takes_usage = self._takes_extras = False
        else:
            return False
        if before != (self._takes_extras, self.takes_usage):
            self.say("it refuses a field that is for counting tokens; asked without it from now on", warn=True)
        return True

    @property
    def title(self) -> str:
        return TITLES.get(self.kind, TITLES["other"])

    @property
    def max_seq_len(self) -> int | None:
        told = self.models.max_seq_len if self.models is not None else None
        return told if told is not None else self.spec.max_seq_len

    def hide(self, text: str) -> str:
        """The text without the key, should the server have said it."""
        return masked(text, self._key)

    def network_failure(
        self, error: BaseException, url: str, *, begun: bool = False, waited_s: float | None = None
    ) -> Failure:
        """In words. `waited_s`: the longest wait for an answer, where it was not `silence_s`."""
        connecting = isinstance(error, httpx.ConnectTimeout)
        waited = self.spec.connect_timeout_s if connecting else waited_s or self.spec.silence_s
        failure = network_failure(error, url, waited_s=waited, begun=begun)
        return failure.model_copy(update={"evidence": self.hide(failure.evidence)})

    def status_failure(self, response: httpx.Response, body: bytes, url: str) -> Failure:
        location = response.headers.get("location", "")
        return status_failure(response.status_code, body, url, location=location, key=self._key)

    def not_openai(self, response: httpx.Response, body: bytes, url: str) -> Failure:
        return not_openai(url, response.headers.get("content-type", ""), body, self._key)

    def say(self, text: str, *, warn: bool = False) -> None:
        self.channel.log(self.hide(text), "warning" if warn else "info")

    async def open(self) -> None:
        """Find out what is there. Raises WorkerError when it cannot be used."""
        self.channel.phase("asking the server", 1, 2)
        if self.spec.plain_http and self._key:
            self.say("the key goes to another machine over plain http, where it can be read on the way", warn=True)
        host = urlsplit(self.spec.base_url).hostname or ""
        scheme = urlsplit(self.spec.base_url).scheme
        if not self.spec.local and scheme in getproxies() and not proxy_bypass(host):
            self.say("goes by the proxy that the environment names; benchmarks go straight to the server")
        if self.spec.api == "triton":
            await self._ask_triton()
            self.channel.phase("looking for its metrics", 2, 2)
        else:
            await self._ask_models()
            self.channel.phase("looking for its metrics", 2, 2)
            await self._ask_version()
        if self.kind in ("auto", "other"):
            self.kind = await self._kind_by_metadata()
        await self._find_metrics()
        if self.max_seq_len is None:
            await self._ask_llamacpp()
        self.say(f"runs {self.title}" if self.kind != "other" else "does not say what runs it")

    async def _ask_models(self) -> None:
        url = self.spec.models_url
        began = time.monotonic()
        try:
            timeout = httpx.Timeout(_MODELS_S, connect=self.spec.connect_timeout_s)
            response = await self.client.get(url, timeout=timeout)
        except (httpx.HTTPError, OSError) as error:
            raise _error(self.network_failure(error, url, waited_s=_MODELS_S)) from error
        took = f"{(time.monotonic() - began) * 1000:.0f} ms"
        if response.status_code in (404, 405, 500, 501):
            # Some gateways have no list; the first request will tell whether the model is there.
            self.say(f"GET {url}: {response.status_code}, no model list", warn=True)
            return
        if not response.is_success:
            raise _error(self.status_failure(response, response.content, url))
        models = None
        data = _json(response.content)
        if data is not None:
            header = response.headers.get("server", "")
            models = read_models(data, self.spec.model, url=url, server_header=header)
        if models is None:
            raise _error(self.not_openai(response, response.content, url))
        self.models = models
        self.say(f"GET {url}: {response.status_code} in {took}, {_named(models)}")
        if self.spec.model not in models.names and models.names and models.server != "llamacpp":
            # llama.cpp answers by whatever name, and lists a path.
            raise _error(no_such_model(self.spec.model, list(models.names), url))
        if self.kind == "auto":
            self.kind = models.server

    async def _ask_triton(self) -> None:
        """What the model takes, by its metadata. Raises WorkerError when it is not there or takes no text."""
        url = f"{self.spec.root}/v2/models/{quote(self.spec.model, safe='')}"
        try:
            timeout = httpx.Timeout(_MODELS_S, connect=self.spec.connect_timeout_s)
            response = await self.client.get(url, timeout=timeout)
        except (httpx.HTTPError, OSError) as error:
            raise _error(self.network_failure(error, url, waited_s=_MODELS_S)) from error
        data = _json(response.content)
        if response.status_code in (400, 404) and isinstance(data, dict) and "error" in data:
            raise _error(no_such_model(self.spec.model, await self._triton_models(), url))
        if not response.is_success:
            raise _error(self.status_failure(response, response.content, url))
        form = form_of(data)
        if form is None:
            raise WorkerError(
                f"{self.spec.model} takes no text",
                code="endpoint-not-generate",
                cause=f"{url}: it has no input text_input",
                hint="Name the model that does, such as tensorrt_llm_bls or ensemble.",
            )
        self.kind = form
        self.say(f"GET {url}: {response.status_code}, {form.removeprefix('triton_')}")
        told = _json(await self._small(f"{self.spec.root}/v2"))
        version = told.get("version") if isinstance(told, dict) else None
        self.version = version if isinstance(version, str) and version.isprintable() else ""
        config = _json(await self._small(f"{self.spec.root}/v2/models/preprocessing/config"))
        self.models = ModelList((self.spec.model,), longest_sequence(config), form)

    async def _triton_models(self) -> list[str]:
        """Names of the models that it has; empty where it does not tell."""
        listed = await self._post(f"{self.spec.root}/v2/repository/index", {})
        entries = listed if isinstance(listed, list) else []
        return [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]

    async def _ask_version(self) -> None:
        if self.kind == "openai":
            return
        url = f"{self.spec.root}/version"
        told = _json(await self._small(url))
        version = told.get("version") if isinstance(told, dict) else None
        if isinstance(version, str) and 0 < len(version) < 100 and version.isprintable():
            self.version = version
            self.say(f"GET {url}: {version}")

    async def _kind_by_metadata(self) -> ServerKind:
        """NIM is known by what it says of its model's parts."""
        metadata = _json(await self._small(f"{self.spec.base_url}/metadata"))
        return "nim" if isinstance(metadata, dict) and {"modelInfo", "assetInfo"} & set(metadata) else "other"

    async def _ask_llamacpp(self) -> None:
        if self.kind != "llamacpp" or self.models is None:
            return
        props = _json(await self._small(f"{self.spec.root}/props"))
        defaults = props.get("default_generation_settings") if isinstance(props, dict) else None
        length = defaults.get("n_ctx") if isinstance(defaults, dict) else None
        if isinstance(length, int) and length > 0:
            self.models = ModelList(self.models.names, length, self.models.server)

    async def _find_metrics(self) -> None:
        if self.spec.metrics_url == "none":
            self.say("its metrics are not asked for")
            return
        given = self.spec.metrics_url
        usual = [f"{self.spec.root}{place}" for place in _METRICS_PLACES]
        if self.spec.api == "triton":
            usual = list(metrics_places(self.spec.root))
        places = [given] if given else usual
        for url in places:
            words = await self._try_metrics(url)
            if not words:
                self.metrics_url = url
                known = self.state.source or "nothing yet"
                self.say(f"GET {url}: metrics of {TITLES.get(known, known)}")
                if self.kind == "other" and self.state.source in TITLES:
                    self.kind = self.state.source  # type: ignore[assignment]
                return
            self.say(f"GET {url}: {words}", warn=bool(given))
        self.say("no metrics: KV cache and queue are not reported")

    async def _try_metrics(self, url: str) -> str:
        """Why this is no place of metrics; empty when it is one."""
        try:
            await self.ask_metrics(url)
        except MetricsError as error:
            return str(error)
        # An empty list of records is trtllm-serve's answer when it did nothing.
        return "" if self.state.known or self.state.source else "nothing that is known here"

    async def ask_metrics(self, url: str) -> ServerState:
        """The server's state now, kept in `state`. Raises MetricsError."""
        try:
            async with self.client.stream("GET", url, timeout=_METRICS_S) as response:
                if response.status_code != 200:
                    raise MetricsError(f"{response.status_code}")
                body = await _read_up_to(response, _METRICS_BYTES)
                content_type = response.headers.get("content-type", "")
        except (httpx.HTTPError, OSError) as error:
            raise MetricsError(self.network_failure(error, url, waited_s=_METRICS_S).what) from error
        found = read_metrics(body, content_type, self.spec.model)
        if found.known or not self.state.known:
            self.state = found
        return self.state

    async def count(self, body: Mapping[str, Any]) -> int | None:
        """Tokens of a prompt by the server's own tokenizer, where it offers one (vLLM, llama.cpp); else None."""
        if self.kind == "vllm":
            data = await self._post(f"{self.spec.root}/tokenize", {"model": self.spec.model, **body})
            count = data.get("count") if isinstance(data, dict) else None
        elif self.kind == "llamacpp" and "prompt" in body:
            data = await self._post(f"{self.spec.root}/tokenize", {"content": body["prompt"], "add_special": True})
            tokens = data.get("tokens") if isinstance(data, dict) else None
            count = len(tokens) if isinstance(tokens, list) else None
        else:
            return None
        return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None

    async def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        try:
            response = await self.client.post(url, json=body, timeout=_QUESTION_S)
        except (httpx.HTTPError, OSError):
            return None
        return _json(response.content) if response.is_success else None

    async def _small(self, url: str) -> bytes:
        """An answer of at most 1 MiB; empty for anything but success."""
        try:
            async with self.client.stream("GET", url, timeout=_QUESTION_S) as response:
                return await _read_up_to(response, 2**20) if response.is_success else b""
        except (httpx.HTTPError, OSError):
            return b""

    def applied(self) -> dict[str, str]:
        """What is known of how the server runs, as it reports it."""
        facts = dict(self.state.facts)
        found = {"server": self.title, "model": self.spec.model, "url": self.spec.base_url}
        if self.version:
            found["server_version"] = self.version
        cache = facts.pop("cache_dtype", "")
        if cache and cache != "auto":
            found["kv_cache_precision"] = cache
        # Not by the names of our own settings: nobody here asked the server for them.
        found |= {f"server_{name}": value for name, value in facts.items()}
        return found

    def warn_of_no_stream(self) -> None:
        """Say it once."""
        if not self._streams_not:
            self._streams_not = True
            self.say("the server does not stream: an answer comes in one piece, and TTFT is its latency", warn=True)


def _tls(spec: EndpointSpec) -> ssl.SSLContext:
    try:
        return tls_context(spec)
    except WorkbenchError as error:
        raise _error(error.failure) from error


def open_spec(folder: Path) -> EndpointSpec:
    """The description of a folder. Raises WorkerError."""
    try:
        return read_endpoint(folder)
    except WorkbenchError as error:
        raise _error(error.failure) from error


def take_key(spec: EndpointSpec, environ: Mapping[str, str] | None = None) -> str | None:
    """The key, taken out of this process's environment so that no child has it. Raises WorkerError `no-key`."""
    variables = os.environ if environ is None else environ
    if spec.key.source == "none":
        return None
    name = KEY_VARIABLE if spec.key.source == "keyring" else spec.key.name
    key = variables.get(name, "").strip()
    os.environ.pop(name, None)
    if not key:
        where = "the keyring did not give it" if spec.key.source == "keyring" else f"{name} is not set"
        raise WorkerError(
            "the endpoint's key is not there",
            code="no-key",
            cause=where,
            hint="Store it in the keyring, or set the variable and start again.",
        )
    if not key.isascii() or not key.isprintable():
        raise WorkerError(
            "the endpoint's key cannot be sent",
            code="bad-key",
            cause="it has other characters than printable ASCII",
            hint="Copy the key again, without anything around it.",
        )
    return key


def _error(failure: Failure) -> WorkerError:
    return WorkerError(failure.what, code=failure.code, cause=failure.evidence, hint=failure.fix)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _named(models: ModelList) -> str:
    shown = ", ".join(models.names[:5])
    more = f" and {len(models.names) - 5:,} more" if len(models.names) > 5 else ""
    count = f"{len(models.names)} model{'s' if len(models.names) != 1 else ''}"
    return f"{count}: {shown}{more}" if shown else count


async def _read_up_to(response: httpx.Response, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > most:
            break
    return b"".join(parts)[:most]
