"""From an engine's folder to a subject that can be measured: what it is, then its host, loaded."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.artifact import Provenance, read_provenance
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.errors import WorkbenchError
from workbench.core.home import Home
from workbench.core.measure.applied import not_applied, reported_settings
from workbench.core.measure.record import Subject
from workbench.core.messages import ChatTurn, Log, Message, Phase, Stats
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.measure.surroundings import read_environment
from workbench.toolchains import room_check
from workbench.toolchains.running import EngineStart, engine_start

STATS_S = 0.2
_COUNT_S = 30.0


@dataclass(frozen=True)
class Asked:
    """An engine folder to measure, and the runtime settings to load it with."""

    path: Path
    overrides: tuple[str, ...] = ()
    name: str = ""
    """How to call it; empty: its own name and precision."""


@dataclass
class Opened:
    """A loaded subject. Made by `open_subject`; a context manager that ends its host."""

    subject: Subject
    start: EngineStart
    client: EngineClient

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    def count_tokens(self, text: str, *, chat: bool) -> int | None:
        """Length of a prompt as this engine would take it; None where it cannot be counted."""
        try:
            if chat:
                asked = self.client.count(messages=[ChatTurn(role="user", content=text)])
            else:
                asked = self.client.count(prompt=text)
            return asked.result(_COUNT_S).tokens
        except (WorkbenchError, FutureTimeout):
            return None


def describe(home: Home, asked: Asked, subject_id: str) -> tuple[Subject, EngineStart]:
    """What is known of an engine before it is loaded, and how to load it. Raises BadInputError."""
    start = engine_start(home, asked.path, list(asked.overrides), os.environ)
    provenance = start.provenance
    is_endpoint = provenance.toolchain == "endpoint"
    refers = provenance.toolchain in ("endpoint", "pytorch")
    model = provenance.model
    subject = Subject(
        id=subject_id,
        name=asked.name or shown_name(provenance, compiled=start.on_gpu),
        toolchain=provenance.toolchain,
        toolchain_title=start.toolchain_title,
        precision=provenance.precision,
        path=str(asked.path),
        key=provenance.key,
        model=model.name if model is not None else "",
        model_digest=model.digest if model is not None else "",
        tokenizer=tokenizer_digest(_tokenizer_folder(asked.path, provenance)),
        url=_endpoint_url(asked.path) if is_endpoint else "",
        overrides=asked.overrides,
        **_gpus_of(asked.path, provenance, on_gpu=start.on_gpu),
        size_bytes=_model_bytes(provenance) if refers else provenance.size_bytes,
        build_s=None if refers else provenance.build_seconds,
    )
    return subject, start


def _gpus_of(path: Path, provenance: Provenance, *, on_gpu: bool) -> dict[str, Any]:
    """GPUs and how they share the engine, as far as its folder says."""
    if provenance.toolchain == "endpoint":
        return {}
    if provenance.toolchain in ("onnxruntime", "tensorrt_rtx"):
        return {"gpus": int(on_gpu)}  # where their host goes, and not what they were made for
    try:
        facts = read_engine_facts(path, allow_missing=True)
    except WorkbenchError:
        return {}  # loading it will say what is wrong
    return {"gpus": facts.gpus, "shape": facts.shape if facts.world_size > 1 else ""}


def start_of(home: Home, subject: Subject) -> EngineStart:
    """How a subject is loaded that was described before. Raises BadInputError."""
    return engine_start(home, Path(subject.path), list(subject.overrides), os.environ)


_TITLES = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "pytorch": "PyTorch",
    "tensorrt_llm": "TensorRT-LLM",
    "tensorrt_rtx": "TensorRT-RTX",
}


def shown_name(provenance: Provenance, *, compiled: bool = True) -> str:
    """`INT8 OpenVINO`: what tells variants of one model apart; the engine's own name where there is no precision.

    `compiled`: whether the compiled engine of TensorRT-RTX is what runs, and not the ONNX model beside it.
    """
    if not provenance.precision or provenance.toolchain == "endpoint":
        return provenance.name
    toolchain = _TITLES.get(provenance.toolchain, provenance.toolchain)
    parallel = provenance.preset.get("parallel")
    sizes = parallel if isinstance(parallel, dict) and provenance.toolchain == "tensorrt_llm" else {}
    cut = [f"{name} {sizes[name]}" for name in ("tp", "pp") if isinstance(sizes.get(name), int) and sizes[name] > 1]
    stands_in = ["(ONNX model)"] if provenance.toolchain == "tensorrt_rtx" and not compiled else []
    return " ".join([provenance.precision.upper().replace("_", " "), toolchain, *cut, *stands_in])


def unique_names(subjects: Sequence[Subject]) -> tuple[Subject, ...]:
    """The same subjects, with the key's beginning behind names that two of them have."""
    taken: dict[str, int] = {}
    for subject in subjects:
        taken[subject.name] = taken.get(subject.name, 0) + 1
    used: set[str] = set()
    made = []
    for subject in subjects:
        name = subject.name
        if taken[name] > 1:
            tail = subject.key[:6] or subject.id
            name = f"{name} {tail}"
            if name in used:
                name = f"{name} {subject.id}"
        used.add(name)
        made.append(subject.model_copy(update={"name": name}))
    return tuple(made)


def open_subject(
    home: Home,
    subject: Subject,
    start: EngineStart,
    on_step: Callable[[str], None],
    stop: threading.Event,
    beside: Sequence[str] = (),
    *,
    for_speed: bool = False,
) -> Opened:
    """Load the engine; the subject comes back with what it reports of itself.

    `for_speed`: leave out what costs speed and is not measured. `beside`: names of engines that stay loaded. Raises
    BlockedError when there is no room, StepFailedError, CancelledError.
    """
    room_check.refuse_without_room(start, tuple(beside))
    home.logs.mkdir(parents=True, exist_ok=True)
    spec = start.start.spec
    if for_speed and start.provenance.toolchain == "pytorch":
        # It can report log-probabilities or be quick: reporting them waits for the GPU at every token of a batch.
        spec = spec.model_copy(update={"settings": {**spec.settings, "logprobs": False}})
    command = HostCommand(argv=start.start.argv, env=start.start.env, cwd=str(home.root), spec=spec)

    def tell(message: Message) -> None:
        if isinstance(message, Phase):
            on_step(message.name)
        elif isinstance(message, Log) and message.level == "warning":
            on_step(message.text[:200])

    began = time.monotonic()
    client = EngineClient.start(command, home.logs / f"measure-{os.getpid()}-{subject.id}.txt", tell, stop=stop)
    load_s = time.monotonic() - began
    try:
        client.set_stats_interval(STATS_S)
        ready, hello = client.ready, client.hello
        kv = ready.kv_blocks_total, ready.kv_block_tokens
        told = subject.model_copy(
            update={
                "settings": reported_settings(ready),
                "not_applied": not_applied(start.preset, ready),
                "kv_tokens": kv[0] * kv[1] if kv[0] is not None and kv[1] is not None else None,
                "max_seq_len": ready.limits.get("max_seq_len"),
                "load_s": ready.load_seconds if ready.load_seconds is not None else load_s,
                "environment": read_environment(dict(hello.versions) if hello is not None else {}),
            }
        )
    except BaseException:
        client.close(grace_s=0.0)
        raise
    return Opened(told, start, client)


def with_memory(subject: Subject, stats: Stats | None) -> Subject:
    """The subject with what its engine holds. A host that was never asked anything has not reported it yet."""
    weights = stats.memory_bytes.get("weights") if stats is not None else None
    return subject if weights is None else subject.model_copy(update={"weights_bytes": weights})


def _model_bytes(provenance: Provenance) -> int | None:
    """Of what is only referred to: the model folder's weights."""
    if provenance.toolchain == "pytorch" and provenance.model is not None:
        return provenance.model.weight_bytes
    return None


def _tokenizer_folder(path: Path, provenance: Provenance) -> Path:
    if (path / "tokenizer.json").is_file() or provenance.model is None:
        return path
    return Path(provenance.model.path)


def tokenizer_digest(folder: Path) -> str:
    """Tells tokenizers apart by their vocabulary and merges; empty where there is no tokenizer.json to be read.

    Reads a file of some megabytes: not for a GUI thread.
    """
    try:
        data = json.loads((folder / "tokenizer.json").read_bytes())
        model = data["model"]
        told = json.dumps([model.get("vocab"), model.get("merges"), data.get("added_tokens")], sort_keys=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def same_tokenizer(first: Subject, second: Subject) -> bool | None:
    """None: not known."""
    if first.tokenizer and second.tokenizer:
        return first.tokenizer == second.tokenizer
    if first.model_digest and second.model_digest and first.model_digest == second.model_digest:
        return True
    return None


def _endpoint_url(path: Path) -> str:
    try:
        return str(json.loads((path / "engine.json").read_bytes()).get("base_url", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def is_engine(path: Path) -> bool:
    """Whether the folder is an engine's."""
    try:
        return read_provenance(path).kind == "engine"
    except WorkbenchError:
        return False
