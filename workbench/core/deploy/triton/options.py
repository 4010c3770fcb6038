"""What a person may choose of a Triton export; all else is taken from the engine."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from workbench.core.deploy.facts import EngineFacts
from workbench.core.errors import BadInputError

Form = Literal["ensemble", "llmapi"]
Scheduler = Literal["guaranteed_no_evict", "max_utilization"]
ROOT = "/triton"
"""Where the export is seen inside the container."""


@dataclass(frozen=True)
class Baseline:
    """What a benchmark of the engine measured: by it the alerts know what is slow."""

    run: str
    """Name or id of the run, for people."""
    output_tok_s: float
    latency_p99_ms: float | None = None
    ttft_p99_ms: float | None = None


@dataclass(frozen=True)
class TritonOptions:
    """The choices of `workbench export triton`."""

    form: Form = "ensemble"
    """`ensemble`: C++ backend with preprocessing, postprocessing, ensemble and BLS; `llmapi`: one model, Python."""
    tokenizer: Path | None = None
    """Folder with the tokenizer, where the engine's own is not the right one."""
    copy_engine: bool = True
    """False: the engine stays where it is and is mounted into the container."""
    decoupled: bool = True
    """Answers may come in pieces. Without it nothing can be streamed."""
    max_queue_delay_us: int = 0
    """How long the dynamic batcher waits for more requests."""
    max_queue_size: int = 0
    """Requests that may wait; 0: as many as come."""
    instances: int | None = None
    """Of preprocessing and postprocessing; None: 4, or the batch size where that is smaller."""
    kv_fraction: float = 0.9
    """Share of the GPU memory that is free after loading, for the KV cache."""
    kv_host_bytes: int = 0
    """Host memory for KV blocks that leave the GPU."""
    kv_reuse: bool = True
    """Reuse of KV blocks between requests, where the engine can."""
    chunked_context: bool = True
    """Long prompts in pieces, where the engine can."""
    scheduler: Scheduler = "guaranteed_no_evict"
    gpu_ids: tuple[int, ...] = ()
    """GPUs by index, one a rank; empty: the first ones."""
    gpu: str = ""
    """The kind of GPU there, by a name of the catalogue; empty: not said, launch.sh looks."""
    gpus_here: int | None = None
    """How many GPUs the machine that it goes to has; None: not known, so not checked."""
    nodes: int = 1
    draft: EngineFacts | None = None
    """Engine that drafts for this one (draft-target)."""
    draft_tokens: int = 5
    lookahead: tuple[int, int, int] | None = None
    """Window, n-gram and verification set size; None: equal ones that fit the engine's max_draft_len."""
    choices: str = ""
    """Tree of Medusa or EAGLE, such as `[[0], [0, 0], [1]]`; empty: the backend's own default."""
    host: str = "127.0.0.1"
    """Address that the ports are published on."""
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    container: str = ""
    """Image; empty: the one that the table has for the engine's version."""
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        """Raises BadInputError for a value that no export can have."""
        _between("--kv-fraction", self.kv_fraction, 0.01, 1.0)
        _between("--max-queue-delay-us", self.max_queue_delay_us, 0, 60_000_000)
        _between("--max-queue-size", self.max_queue_size, 0, 1_000_000)
        _between("--instances", 1 if self.instances is None else self.instances, 1, 256)
        _between("--nodes", self.nodes, 1, 1024)
        _between("--kv-host-bytes", self.kv_host_bytes, 0, 2**50)
        _between("--draft-tokens", self.draft_tokens, 1, 64)
        try:
            ip_address(self.host)
        except ValueError:
            raise BadInputError(
                "--host must be an address of this machine, as numbers: compose publishes ports on nothing else.",
                evidence=self.host[:80] or "empty",
                fix="Give 127.0.0.1 for this machine alone, or 0.0.0.0 for all who reach it.",
                code="bad-option",
            ) from None
        ports = (self.http_port, self.grpc_port, self.metrics_port)
        for port in ports:
            _between("port", port, 1, 65535)
        if len(set(ports)) != 3:
            raise BadInputError(
                "The three ports must differ.",
                evidence=f"http {ports[0]}, grpc {ports[1]}, metrics {ports[2]}",
                fix="Give another one.",
                code="bad-option",
            )
        if len(set(self.gpu_ids)) != len(self.gpu_ids) or any(gpu < 0 for gpu in self.gpu_ids):
            raise BadInputError(
                "A GPU is named twice, or is none.",
                evidence=", ".join(map(str, self.gpu_ids)),
                fix="Give each GPU's index once, such as 0,1.",
                code="bad-option",
            )


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadInputError(
            f"{name} cannot be {value:g}.",
            evidence=f"it goes from {low:g} to {high:g}",
            fix="Give a value between them.",
            code="bad-option",
        )
