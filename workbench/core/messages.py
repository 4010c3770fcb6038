"""The worker protocol's schema: JSON lines between a worker and whoever started it.

Both ends need it (workers/ and jobs/ may not import each other), so it stands in core; workers/protocol.py is
the worker's end of the wire. Unknown fields are ignored, unknown types are kept as `Unknown` and logged, a line
over MAX_LINE_BYTES ends the worker.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

PROTOCOL_VERSION = 1
MAX_LINE_BYTES = 8 * 2**20


class StepSpec(BaseModel):
    """The first line a worker reads: all that it needs to know."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    protocol: int = PROTOCOL_VERSION
    worker: str
    """Dotted name of the worker, `openvino.convert`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    """Role -> absolute path, such as `model` or `checkpoint`."""
    output: str = ""
    """The `.partial` folder to fill, already made and empty; empty for workers that make no folder."""


class Message(BaseModel):
    """Common to all messages out."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    t: float = 0.0
    """Seconds on the worker's monotonic clock."""


class Hello(Message):
    type: Literal["hello"] = "hello"
    protocol: int
    worker: str
    pid: int
    versions: dict[str, str] = Field(default_factory=dict)


class Phase(Message):
    type: Literal["phase"] = "phase"
    name: str
    index: int
    """From 1."""
    of: int


SHARE_UNIT = "%"
"""The unit of progress that counts for the whole step; with any other unit it is the current phase's."""


class Progress(Message):
    type: Literal["progress"] = "progress"
    done: float
    total: float | None = None
    """None: how much there is to do is not known."""
    unit: str = ""
    left_s: float | None = None
    """Seconds that the whole step still takes, as its worker reckons; None: it does not say."""


LogLevel = Literal["debug", "info", "warning", "error"]


class Log(Message):
    type: Literal["log"] = "log"
    level: LogLevel = "info"
    text: str


class ArtifactMade(Message):
    type: Literal["artifact"] = "artifact"
    kind: str
    path: str
    bytes: int


class Result(Message):
    """The worker is done and did what it was asked; `data` goes into the provenance."""

    type: Literal["result"] = "result"
    data: dict[str, Any] = Field(default_factory=dict)


class Error(Message):
    """The worker gives up. `message` is what happened, `cause` the evidence, `hint` what to do."""

    type: Literal["error"] = "error"
    code: str = "failed"
    message: str
    cause: str = ""
    hint: str = ""


class Ready(Message):
    """An engine host takes requests from now on."""

    type: Literal["ready"] = "ready"
    limits: dict[str, int] = Field(default_factory=dict)
    """Such as max_seq_len, max_batch_size; a limit that is not there is not reported."""
    kv_blocks_total: int | None = None
    kv_block_tokens: int | None = None
    load_seconds: float | None = None
    chat_template: bool | None = None
    sampling: tuple[str, ...] | None = None
    """Names of the `Sampling` fields that this engine takes; None is "not reported"."""
    settings: dict[str, str] = Field(default_factory=dict)
    """What was really applied, as the engine reports it: `kv_cache_precision`, `compute_precision`, `device` ..."""


class Tokens(Message):
    """New tokens of one request: `text` is what they add to the answer (may be empty within a character)."""

    type: Literal["tokens"] = "tokens"
    request: str
    text: str
    ids: list[int] = Field(default_factory=list)
    logprobs: list[float] | None = None
    count: int | None = None
    """How many tokens, where the engine does not report their ids."""

    @property
    def tokens(self) -> int:
        return len(self.ids) if self.ids or self.count is None else self.count


class Usage(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    input_tokens: int
    output_tokens: int


class Drafted(BaseModel):
    """What speculative decoding did for one answer; None is "not reported"."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    draft_tokens: int | None = None
    """Tokens that were guessed and checked."""
    accepted_tokens: int | None = None
    """Of these, those that the engine kept."""
    passes: int | None = None
    """Passes of the engine in which it checked guesses, or could have; each brings one token of its own."""


FinishReason = Literal["stop", "length", "abort", "error"]


class Finished(Message):
    type: Literal["finished"] = "finished"
    request: str
    reason: FinishReason
    usage: Usage | None = None
    timings: dict[str, float] = Field(default_factory=dict)
    """Engine-side, in milliseconds, as far as the engine reports them."""
    message: str = ""
    """With reason `error`: what was wrong with the request."""
    counts: list[int] | None = None
    """Token counts of all its responses in order, where they were guessed while it ran and are known by now."""
    count_source: Literal["engine ids", "server usage"] | None = None
    """Where the counts are from; None: the ids."""
    drafted: Drafted | None = None
    """With speculative decoding, as far as it is reported."""


class Counted(Message):
    """The answer to `count`: how long a prompt is to this engine, and whether it would be taken."""

    type: Literal["counted"] = "counted"
    request: str
    tokens: int | None = None
    """The whole prompt with the chat template's own tokens; None when it could not be counted."""
    limit: int | None = None
    """The longest prompt that leaves room for one token of an answer."""
    problem: str = ""
    """Why a `generate` of the same would be refused; empty when it would not."""


class Stats(Message):
    """State of the engine after an iteration; None is "not reported"."""

    type: Literal["stats"] = "stats"
    kv_blocks_used: int | None = None
    kv_blocks_free: int | None = None
    kv_blocks_reused: int | None = None
    """Of the blocks in use, those that requests share or took over from earlier ones, now."""
    kv_blocks_reused_since_load: int | None = None
    """How often a block was matched and reused since the engine was loaded: a counter, and no part of the pool."""
    kv_blocks_total: int | None = None
    kv_share: float | None = None
    """Of the KV cache in use, 0 to 1, where a server reports no blocks."""
    requests_active: int | None = None
    requests_queued: int | None = None
    batch: int | None = None
    """Requests that were in the last iteration."""
    context_tokens: int | None = None
    """Prompt tokens processed since the engine was loaded."""
    generated_tokens: int | None = None
    """Tokens generated since the engine was loaded."""
    iteration_ms: float | None = None
    draft_tokens: int | None = None
    """Tokens that speculative decoding guessed and the engine checked, since it was loaded."""
    accepted_tokens: int | None = None
    """Of these, those that the engine kept, since it was loaded."""
    draft_passes: int | None = None
    """Passes of a request in which guesses were checked, or could have been, since the engine was loaded."""
    memory_bytes: dict[str, int] = Field(default_factory=dict)
    """Split as far as reported: `weights`, `kv_pool`, `process` ..."""


class Unknown(Message):
    """A message of a type this version does not know; it is logged and otherwise ignored."""

    type: str
    raw: str = ""


Known = Annotated[
    Hello | Phase | Progress | Log | ArtifactMade | Result | Error | Ready | Tokens | Finished | Counted | Stats,
    Field(discriminator="type"),
]
_known: TypeAdapter[Any] = TypeAdapter(cast(Any, Known))
_KNOWN_TYPES = frozenset(
    [
        "hello",
        "phase",
        "progress",
        "log",
        "artifact",
        "result",
        "error",
        "ready",
        "tokens",
        "finished",
        "counted",
        "stats",
    ]
)


class Sampling(BaseModel):
    """Sampling settings of one request; None leaves a value to the engine's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    """0 is greedy."""
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    repetition_penalty: float | None = Field(default=None, gt=0.0)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: bool = False


class ChatTurn(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str


class Generate(BaseModel):
    """Ask a host for an answer: exactly one of `messages` (chat template applied), `prompt` or `ids`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["generate"] = "generate"
    request: str
    messages: tuple[ChatTurn, ...] | None = None
    prompt: str | None = None
    ids: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()


class Count(BaseModel):
    """Ask how many tokens a prompt is: one of `messages` (chat template applied) or `prompt`, as in `generate`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["count"] = "count"
    request: str
    messages: tuple[ChatTurn, ...] | None = None
    prompt: str | None = None


class Abort(BaseModel):
    type: Literal["abort"] = "abort"
    request: str


class StatsInterval(BaseModel):
    """Send `stats` every `seconds`; 0 sends none."""

    type: Literal["stats_interval"] = "stats_interval"
    seconds: float = Field(ge=0.0)


class Shutdown(BaseModel):
    type: Literal["shutdown"] = "shutdown"


Command = Annotated[Generate | Count | Abort | StatsInterval | Shutdown, Field(discriminator="type")]
_command: TypeAdapter[Any] = TypeAdapter(cast(Any, Command))


class RubbishError(ValueError):
    """A line on the protocol stream that is not a message at all."""


def parse_message(line: str | bytes) -> Message:
    """One line from a worker -> its message.

    Raises RubbishError when the line is not a JSON object with a `type`, or a known type with wrong fields.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RubbishError(f"not JSON: {_short(line)}") from error
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise RubbishError(f"no message type: {_short(line)}")
    if data["type"] not in _KNOWN_TYPES:
        t = data.get("t")
        return Unknown(type=data["type"], t=float(t) if isinstance(t, int | float) else 0.0, raw=_short(line, 400))
    try:
        message: Message = _known.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RubbishError(f"message {data['type']!r}, field {where}: {first['msg']}") from error
    return message


def parse_command(line: str | bytes) -> Generate | Count | Abort | StatsInterval | Shutdown:
    """One line to an engine host -> its command. Raises RubbishError."""
    try:
        command: Generate | Count | Abort | StatsInterval | Shutdown = _command.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RubbishError(f"command field {where}: {first['msg']}") from error
    return command


def _short(line: str | bytes, limit: int = 120) -> str:
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
