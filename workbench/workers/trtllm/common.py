"""What the TensorRT-LLM workers share: GPUs as the driver names them, engine configurations, tokenizer files."""

from __future__ import annotations

import contextlib
import csv
import faulthandler
import importlib.metadata
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.core.messages import Error
from workbench.core.trtllm.log import explain_failure
from workbench.workers.common import read_json
from workbench.workers.process_tree import kill_children
from workbench.workers.protocol import Channel, WorkerError

PACKAGES = ("tensorrt_llm", "tensorrt", "torch", "transformers", "mpi4py")
LAST_LINE_WITH_ENGINES = (1, 2)
ENGINE_FILE = "engine.json"
"""The workbench's own notes in an engine folder: the GPU and versions it was built with, which config.json lacks."""
ENGINE_SCHEMA = 1
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
LIMITS = ("max_batch_size", "max_seq_len", "max_input_len", "max_num_tokens", "max_beam_width")
_QUERY = ("index", "name", "uuid", "compute_cap", "memory.total", "display_active")
LAUNCHERS = ("mpirun", "prterun", "orterun", "prte", "orted")
"""Open MPI's programs, any of which shows that its launcher is there."""
_FRAME = re.compile(r"^\s*File \".*\", line \d+")
_STARTS = re.compile(r"Initializing MPI with thread mode|^\[TensorRT-LLM\] TensorRT-LLM version: ")
HANG_SECONDS = 300.0
"""How long nothing may be heard of an import or of MPI's start: an import takes 10 to 40 s."""
_QUERY_SECONDS = 30.0
_DTYPE_BYTES = {"float16": 2.0, "bfloat16": 2.0, "float32": 4.0}
_KV_BYTES = {"FP8": 1.0, "INT8": 1.0, "NVFP4": 0.5625}
"""NVFP4 has an FP8 scale for 16 values."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as nvidia-smi reports it."""

    index: int
    name: str
    uuid: str
    compute_capability: str
    """Such as "9.0"."""
    memory_bytes: int | None
    display: bool | None
    """Whether it drives a display now; None: not reported."""

    def facts(self) -> dict[str, Any]:
        """What an engine's notes keep of it."""
        return {key: value for key, value in asdict(self).items() if key in ("name", "compute_capability")}


def visible_gpus(environ: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """GPUs that this process may use, in CUDA's order; empty where the driver does not answer.

    Asks nvidia-smi, since importing CUDA libraries would take memory on each GPU. CUDA_VISIBLE_DEVICES is obeyed as
    CUDA does it: the list ends at the first entry that names no GPU.
    """
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"],  # noqa: S607
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=_QUERY_SECONDS,
            check=True,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = []
    for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True):
        with contextlib.suppress(ValueError, IndexError):
            found.append(_gpu(row))
    asked = environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(found) if asked is None else _chosen(found, asked)


def _gpu(row: Sequence[str]) -> Gpu:
    index, name, uuid, capability, memory, display = (cell.strip() for cell in row)
    return Gpu(
        index=int(index),
        name=name,
        uuid=uuid,
        compute_capability=capability,
        memory_bytes=int(memory) * 2**20 if memory.isdecimal() else None,
        display={"enabled": True, "yes": True, "disabled": False, "no": False}.get(display.lower()),
    )


def _chosen(gpus: Sequence[Gpu], asked: str) -> tuple[Gpu, ...]:
    chosen: list[Gpu] = []
    for word in (part.strip() for part in asked.split(",")):
        named = [
            gpu for gpu in gpus if word and (word == str(gpu.index) or (len(word) > 4 and gpu.uuid.startswith(word)))
        ]
        if len(named) != 1 or named[0] in chosen:
            break
        chosen.append(named[0])
    return tuple(chosen)


@dataclass(frozen=True)
class EngineConfig:
    """What an engine's config.json says. None is "not said"."""

    version: str | None
    """TensorRT-LLM that built it."""
    pretrained: dict[str, Any]
    build: dict[str, Any]

    @property
    def ranks(self) -> int:
        return world_size(self.pretrained)

    @property
    def plugins(self) -> dict[str, Any]:
        return _table(self.build, "plugin_config")

    @property
    def limits(self) -> dict[str, int]:
        """By the names of the build's flags; those that are not said are left out."""
        return {name: value for name in LIMITS if isinstance(value := self.build.get(name), int)}

    @property
    def tokens_per_block(self) -> int | None:
        value = self.plugins.get("tokens_per_block")
        return value if isinstance(value, int) else None

    @property
    def kv_bytes_per_token(self) -> int | None:
        """Bytes that one token takes in the KV pool of one GPU (rank 0): 2 x layers x KV heads x head size x bytes.

        KV heads that are fewer than the tensor parallel GPUs are kept several times.
        """
        config = self.pretrained
        mapping = _table(config, "mapping")
        tp, pp = _whole(mapping.get("tp_size"), 1), _whole(mapping.get("pp_size"), 1)
        heads, layers = config.get("num_attention_heads"), config.get("num_hidden_layers")
        if not isinstance(heads, int) or not isinstance(layers, int) or heads < 1:
            return None
        kv_heads = _whole(config.get("num_key_value_heads"), heads)
        head = _whole(config.get("head_size"), _whole(config.get("hidden_size"), 0) // heads)
        algo = _table(config, "quantization").get("kv_cache_quant_algo")
        size = _KV_BYTES.get(str(algo)) or _DTYPE_BYTES.get(str(config.get("dtype")))
        if not head or size is None:
            return None
        return int(2 * (layers // pp) * max(1, kv_heads // tp) * head * size)


def read_engine_config(folder: Path) -> EngineConfig:
    """The engine's config.json. Raises WorkerError `bad-engine` when it is none."""
    path = folder / "config.json"
    if not path.is_file():
        raise WorkerError(
            "the folder holds no TensorRT-LLM engine",
            code="bad-engine",
            cause=f"no config.json in {folder}",
            hint="Build the engine again.",
        )
    try:
        data = read_json(path)
    except WorkerError as error:
        raise WorkerError(
            "the engine's config.json cannot be read",
            code="bad-engine",
            cause=error.cause,
            hint="Build the engine again; a full disk leaves such files.",
        ) from error
    absent = [key for key in ("pretrained_config", "build_config") if not isinstance(data.get(key), dict)]
    if absent:
        raise WorkerError(
            "the folder's config.json is not an engine's",
            code="bad-engine",
            cause=f"no {' and no '.join(absent)} in {path}",
            hint="Give the folder that trtllm-build wrote; a checkpoint has to be built first.",
        )
    version = data.get("version")
    return EngineConfig(version if isinstance(version, str) else None, data["pretrained_config"], data["build_config"])


def missing_ranks(folder: Path, ranks: int) -> list[str]:
    """Names of rank files that are not there or empty."""
    names = [f"rank{rank}.engine" for rank in range(ranks)]
    return [name for name in names if not (folder / name).is_file() or not (folder / name).stat().st_size]


def installed_version() -> str:
    """Version of tensorrt_llm in this environment by its metadata; "" when it is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("tensorrt_llm")
    return ""


def refuse_newer(what: str, more: str = "") -> None:
    """Raise WorkerError `no-engine-runtime` where TensorRT-LLM is newer than the last line with engines.

    `what` completes the sentence "TensorRT-LLM 1.3.0 ...", `more` is added to the evidence.
    """
    version = installed_version()
    numbers = tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:2])
    if numbers > LAST_LINE_WITH_ENGINES:
        raise WorkerError(
            f"TensorRT-LLM {version} {what}: 1.2 is the last line with engines, upstream has removed them after it",
            code="no-engine-runtime",
            cause="; ".join(text for text in (f"installed: {version}", more) if text),
            hint="Install tensorrt-llm 1.2.1 in an environment of its own.",
        )


def mpi_launcher(environ: Mapping[str, str] = os.environ) -> str:
    """Path of a program that starts MPI's processes; "" without one. Engines of several ranks spawn theirs by it."""
    places = environ.get("PATH", "")
    if prefix := environ.get("OPAL_PREFIX"):
        places = f"{prefix}/bin{os.pathsep}{places}"
    return next((found for name in LAUNCHERS if (found := shutil.which(name, path=places))), "")


def stuck_at_start(lines: Iterable[str]) -> bool:
    """Whether the last thing said is the banner or that MPI starts, or nothing at all: there it has hung for many."""
    told = [line for line in lines if line.strip()]
    return not told or bool(_STARTS.search(told[-1]))


@contextlib.contextmanager
def hang_watch(
    channel: Channel, lines: Callable[[], list[str]], seconds: float, *, loading: bool = False
) -> Iterator[None]:
    """End this process with words when what is inside prints nothing for `seconds`: no exception gets out of it.

    For imports; with `loading`, which may be silent for long, only where MPI's start is the last line. Where a C
    function holds Python's lock while it hangs, the import is ended a little later and without words.
    """
    done = threading.Event()

    def watch() -> None:
        seen, since = -1, time.monotonic()
        while not done.wait(min(1.0, seconds / 4)):
            told = lines()
            if len(told) != seen:
                seen, since = len(told), time.monotonic()
            elif time.monotonic() - since >= seconds and (not loading or (told and stuck_at_start(told))):
                failure = explain_failure([*told, "import tensorrt_llm"], f"no output for {seconds:g} s")
                channel.send(
                    Error(
                        code=failure.code, message=failure.what, cause=f"no output for {seconds:g} s", hint=failure.fix
                    )
                )
                kill_children()
                os._exit(3)

    thread = threading.Thread(target=watch, daemon=True, name="hang watch")
    thread.start()
    if not loading:
        faulthandler.dump_traceback_later(2 * seconds, exit=True)
    try:
        yield
    finally:
        if not loading:
            faulthandler.cancel_dump_traceback_later()
        done.set()
        thread.join()


def without_source_lines(lines: Iterable[str]) -> list[str]:
    """Log lines less the source code that Python's tracebacks quote: it holds error texts that nobody raised."""
    kept: list[str] = []
    in_frame = False
    for line in lines:
        if _FRAME.match(line):
            in_frame = True
        elif not (in_frame and line.startswith("    ")):
            in_frame = False
            kept.append(line)
    return kept


def world_size(config: Mapping[str, Any]) -> int:
    """Ranks of a checkpoint or engine: tensor x pipeline x context parallel."""
    mapping = _table(config, "mapping")
    sizes = [_whole(mapping.get(key), 1) for key in ("tp_size", "pp_size", "cp_size")]
    return sizes[0] * sizes[1] * sizes[2]


def _table(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
