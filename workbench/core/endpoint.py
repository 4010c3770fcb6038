"""An endpoint: an OpenAI-compatible server that somebody else runs, as its folder's engine.json describes it.

A key never stands here: only where it is kept.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from workbench.core.errors import BadInputError
from workbench.core.openai import PATHS, Api, Dialect
from workbench.core.triton import FIELDS, generate_path

ENDPOINT_FILE = "engine.json"
ENDPOINT_SCHEMA = 1
KEYRING_SERVICE = "engine-workbench"
"""Under which keys stand in the system's keyring."""
KEY_VARIABLE = "WORKBENCH_ENDPOINT_KEY"
"""By which a key from the keyring reaches a host, and nothing else."""

ServerKind = Literal[
    "auto",
    "vllm",
    "trtllm",
    "triton",
    "triton_generate",
    "triton_llmapi",
    "nim",
    "sglang",
    "llamacpp",
    "openai",
    "workbench",
    "other",
]
"""triton: its OpenAI front end; triton_generate and triton_llmapi: its generate API, by the model's fields."""
KeyFrom = Literal["none", "env", "keyring"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class KeySource(_Frozen):
    """Where the API key is kept."""

    source: KeyFrom = "none"
    name: str = ""
    """Of env: the variable; of keyring: the entry."""

    @property
    def words(self) -> str:
        """`from OPENAI_API_KEY`, `in the keyring as box`, `none`."""
        return {"none": "none", "env": f"from {self.name}", "keyring": f"in the keyring as {self.name}"}[self.source]


class EndpointSpec(_Frozen):
    """How a server is asked."""

    schema_version: int = ENDPOINT_SCHEMA
    base_url: str
    """What `/chat/completions` is put behind, such as `http://box:8000/v1`; without a slash at its end."""
    model: str
    """As the server's model list names it."""
    api: Api = "chat"
    """Which API answers plain prompts and benchmarks; messages always go to chat."""
    key: KeySource = KeySource()
    verify_tls: bool = True
    ca_file: str = ""
    """PEM file of the authorities to trust; empty: the system's."""
    server: ServerKind = "auto"
    """What runs there; auto: asked at load."""
    metrics_url: str = ""
    """Prometheus text or JSON; empty: the usual places are tried; `none`: not asked."""
    connect_timeout_s: float = Field(default=10.0, gt=0, le=600)
    silence_s: float = Field(default=120.0, gt=0, le=3600)
    """Longest wait for the first or the next piece of an answer."""
    max_seq_len: int | None = Field(default=None, ge=1)
    """Where the server does not report it."""

    @field_validator("base_url")
    @classmethod
    def _usable_url(cls, value: str) -> str:
        return base_url(value)

    @field_validator("metrics_url")
    @classmethod
    def _usable_metrics(cls, value: str) -> str:
        return value if value in ("", "none") else urlunsplit(_checked(value))

    @property
    def chat_url(self) -> str:
        return self.base_url + PATHS["chat"]

    @property
    def completions_url(self) -> str:
        return self.base_url + PATHS["completions"]

    @property
    def models_url(self) -> str:
        return self.base_url + "/models"

    @property
    def origin(self) -> str:
        """Scheme, host and port: `http://box:8000`."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def root(self) -> str:
        """The base URL without its version: where servers keep `/metrics` and `/version`."""
        return self.base_url.removesuffix("/v1")

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        return _is_here(urlsplit(self.base_url).hostname or "")

    @property
    def plain_http(self) -> bool:
        """Whether what is sent can be read on the way: http to another machine."""
        return self.base_url.startswith("http:") and not self.local

    def url(self, api: Api) -> str:
        if api == "triton":
            return self.root + generate_path(self.model)
        return self.base_url + PATHS[api]


def base_url(given: str) -> str:
    """A URL as people paste it -> the base URL. `/v1` is added where there is no path, and an API's own path taken
    off. Raises ValueError.
    """
    parts = _checked(given)
    path = f"{parts.path}/".partition("/v2/models/")[0].rstrip("/")  # of a path of Triton's what stands before it
    for tail in (*PATHS.values(), "/models"):
        path = path.removesuffix(tail)
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/") or "/v1", "", ""))


def _checked(given: str) -> SplitResult:
    text = given.strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{_no_secret(given)} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError(f"{_no_secret(given)} is no http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL holds a user or a password; keys belong into the keyring or an environment variable")
    if parts.query or parts.fragment:
        raise ValueError("the URL has a query or a fragment (? or #), which a base URL cannot have")
    return parts


def _no_secret(given: str) -> str:
    """The URL as it may be shown: without what stands before an @ or behind a question mark."""
    text = "".join(c if c.isprintable() else "?" for c in given)
    return text.partition("?")[0].rpartition("@")[2][:200]


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_endpoint(folder: Path) -> EndpointSpec:
    """The endpoint that a folder describes. Raises BadInputError."""
    path = folder / ENDPOINT_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"The endpoint's description cannot be read: {path}",
            evidence=str(error.strerror or error),
            fix="Add it again: workbench endpoint add.",
            code="bad-endpoint",
        ) from error
    try:
        spec = EndpointSpec.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInputError(
            f"The endpoint's description is damaged: {path}",
            evidence=f"{'.'.join(str(part) for part in first['loc']) or 'file'}: {first['msg']}",
            fix="Add it again: workbench endpoint add.",
            code="bad-endpoint",
        ) from error
    if spec.schema_version > ENDPOINT_SCHEMA:
        raise BadInputError(
            f"{folder.name} was described by a newer Engine Workbench.",
            evidence=f"schema {spec.schema_version}, this version knows {ENDPOINT_SCHEMA}",
            fix="Update this program.",
            code="newer-schema",
        )
    return spec


def tls_context(spec: EndpointSpec) -> ssl.SSLContext:
    """How the server's certificate is checked. Raises BadInputError when the authorities' file cannot be used."""
    try:
        return trust(spec.verify_tls, spec.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(
            f"The file of certificate authorities cannot be used: {spec.ca_file}",
            evidence=str(error),
            fix="Give a PEM file that holds the certificates of the authorities.",
            code="bad-ca-file",
        ) from error


def trust(verify: bool, ca_file: str = "") -> ssl.SSLContext:
    """As `tls_context`. Raises OSError (ssl.SSLError among them) for a CA file that cannot be read."""
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_OPENAI = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "logprobs": "logprobs",
}
_MORE = {
    **_OPENAI,
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "ignore_eos": "ignore_eos",
}
_DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(_MORE, ids_switch="return_token_ids", running_usage=True),
    "trtllm": Dialect(_MORE, running_usage=True),
    "triton": Dialect(_OPENAI),
    "triton_generate": Dialect(FIELDS["triton_generate"]),
    "triton_llmapi": Dialect(FIELDS["triton_llmapi"]),
    "nim": Dialect(_MORE),
    "sglang": Dialect(_MORE, running_usage=True),
    "llamacpp": Dialect({**_MORE, "repetition_penalty": "repeat_penalty"}),
    "openai": Dialect({**_OPENAI, "max_tokens": "max_completion_tokens"}),
    "workbench": Dialect(_MORE, ids_switch="return_token_ids"),
    "other": Dialect(_OPENAI),
}


def dialect_of(server: str) -> Dialect:
    """What a kind of server takes; of one that is not known: OpenAI's own fields alone."""
    return _DIALECTS.get(server, _DIALECTS["other"])


TITLES: Mapping[str, str] = {
    "auto": "not asked yet",
    "vllm": "vLLM",
    "trtllm": "trtllm-serve",
    "triton": "Triton",
    "triton_generate": "Triton, generate",
    "triton_llmapi": "Triton, generate of llmapi",
    "nim": "NIM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "openai": "OpenAI",
    "workbench": "Engine Workbench",
    "other": "OpenAI-compatible server",
}
