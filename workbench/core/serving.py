"""What a server in front of an engine is asked to be, and what it says of itself while it runs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.errors import Failure

SERVING_SCHEMA = 1
ServingStatus = Literal["starting", "ready", "draining", "stopped", "failed", "lost"]
"""`lost`: its process is gone and did not say how."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ServeLimits(_Frozen):
    """What a client may ask of the server."""

    body_bytes: int = Field(default=4 * 2**20, ge=1024, le=2**30)
    """Largest request body; larger ones get 413."""
    active: int = Field(default=64, ge=1, le=100_000)
    """Requests that are with the engine at once; the others wait in the queue."""
    queue: int = Field(default=256, ge=0, le=1_000_000)
    """Requests that may wait; with more than that a request gets 429 and a Retry-After."""
    queue_s: float = Field(default=60.0, gt=0, le=86_400)
    """Longest wait in the queue; then 429 too."""
    connections: int = Field(default=4096, ge=1, le=1_000_000)
    """Open connections; more are closed with 503."""
    idle_s: float = Field(default=20.0, gt=0, le=3600)
    """How long a connection may take to send its request."""
    write_s: float = Field(default=30.0, gt=0, le=3600)
    """How long a client may leave an answer unread before its request is aborted."""
    request_s: float = Field(default=600.0, gt=0, le=86_400)
    """Longest answer."""
    drain_s: float = Field(default=30.0, ge=0, le=3600)
    """How long running requests may go on once the server is asked to stop."""


class ServeSpec(_Frozen):
    """`spec.json` of a serving folder. No key stands here: `key_source` says where it is kept."""

    schema_version: int = SERVING_SCHEMA
    id: str
    engine: str
    """The engine's folder."""
    name: str
    """The engine's name, for people."""
    model: str
    """The model name that clients send; the server takes this one only."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    """0: a free one is taken."""
    key_source: Literal["none", "env", "keyring"] = "none"
    key_name: str = ""
    keyed: bool = False
    """Whether clients need a key; with key_source none it is kept nowhere, it was shown once."""
    limits: ServeLimits = ServeLimits()
    overrides: tuple[str, ...] = ()
    """Runtime settings, as `workbench prompt --set`."""
    created_at: float = 0.0


class Percentiles(_Frozen):
    """Of the last requests, in milliseconds; None: not enough of them yet."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    n: int = 0


class ServeReading(_Frozen):
    """One reading of a server, a line of `readings.jsonl` (one a second) and part of `state.json`."""

    at: float
    """Seconds since the epoch."""
    connections: int | None = None
    active: int = 0
    queued: int = 0
    requests: int = 0
    """Since the start, ended ones; the others of the same kind below."""
    completed: int = 0
    aborted: int = 0
    """By the client: it went away, or did not read."""
    refused: dict[str, int] = Field(default_factory=dict)
    """By HTTP status, such as {"401": 2, "413": 1, "429": 40}."""
    failed: int = 0
    """5xx."""
    input_tokens: int = 0
    output_tokens: int = 0
    output_tok_s: float | None = None
    """Over the last seconds."""
    req_s: float | None = None
    ttft: Percentiles = Percentiles()
    itl: Percentiles = Percentiles()
    latency: Percentiles = Percentiles()
    queue_wait: Percentiles = Percentiles()
    kv_share: float | None = None


class ServeState(_Frozen):
    """`state.json` of a serving folder: how it is now."""

    status: ServingStatus = "starting"
    step: str = ""
    """What it does while it starts, in words."""
    pid: int | None = None
    url: str = ""
    """`http://127.0.0.1:8000/v1` once it listens."""
    toolchain: str = ""
    program: str = ""
    """What answers: `trtllm-serve 1.2.1`, or `engine host`."""
    argv: tuple[str, ...] = ()
    """Of the program behind the front door, where there is one."""
    started_at: float | None = None
    ready_at: float | None = None
    ended_at: float | None = None
    reading: ServeReading | None = None
    problems: tuple[str, ...] = ()
    """The last refusals and failures in words, newest last, at most 50; no prompt text stands in them."""
    failure: Failure | None = None
