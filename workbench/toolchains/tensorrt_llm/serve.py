"""How an engine is served by TensorRT-LLM's own `trtllm-serve`: its argv, and the YAML of what has no flag.

By TensorRT-LLM 1.2: an engine folder needs `--backend tensorrt` (the default is the PyTorch backend) and the
tokenizer, which trtllm-build does not copy; parallel sizes come from the engine. There is no flag for the model's
name: the folder's name is shown, so the engine is given by a link of that name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.deploy.facts import EngineFacts
from workbench.core.errors import BadInputError, BlockedError
from workbench.core.gpu import GpuSpec
from workbench.core.messages import StepSpec
from workbench.core.preset import Preset
from workbench.core.preset_check import shown_argv
from workbench.core.speculative import lookahead_draft_len
from workbench.toolchains.base import Environment, HostStart
from workbench.toolchains.places import CONTAINER_PROGRAMS
from workbench.toolchains.tensorrt_llm.runtime import runtime_settings

PROGRAM = "trtllm-serve"
OPTIONS_FILE = "llm-options.yaml"
HOST = "127.0.0.1"
"""It asks for no key and knows no limits, so nobody but the front door is to reach it."""
KV_FRACTION = 0.9
KV_FRACTION_WITH_DISPLAY = 0.8
"""Of the memory that is free after loading: a desktop on the same GPU goes on needing some."""
_FRACTION = "kv_cache_free_gpu_memory_fraction"
_LIMITS = ("max_batch_size", "max_num_tokens", "max_seq_len", "max_beam_width")


@dataclass(frozen=True)
class ServeProgram:
    """`trtllm-serve` for one engine."""

    argv: tuple[str, ...]
    """From the program's name on."""
    options: str
    """Text of the YAML file that its --extra_llm_api_options names."""


def serve_program(
    facts: EngineFacts,
    preset: Preset,
    *,
    engine: Path,
    options: Path,
    port: int,
    gpus: Sequence[GpuSpec] = (),
) -> ServeProgram:
    """The program for an engine, its limits no wider than it was built for.

    `engine`: its folder, or a link to it whose name is the model's; `options`: where the YAML is to be; `gpus`: this
    machine's, as far as they are known. Raises BadInputError where there is no tokenizer, BlockedError for more draft
    tokens than the engine was built for.
    """
    if facts.tokenizer is None:
        raise BadInputError(
            f"{facts.name} has no tokenizer.",
            evidence=f"none in {facts.path}" + (f" and none in {facts.model_path}" if facts.model_path else ""),
            fix="Copy the model's tokenizer files into the engine's folder: trtllm-build copies none.",
            code="no-tokenizer",
        )
    asked = runtime_settings(preset)
    fraction = asked.get(_FRACTION)
    if fraction is None:
        shown = any(gpu.drives_display for gpu in gpus[: facts.world_size])
        fraction = KV_FRACTION_WITH_DISPLAY if shown else KV_FRACTION
    argv = [PROGRAM, "serve", str(engine), "--backend", "tensorrt", "--tokenizer", str(facts.tokenizer)]
    argv += ["--host", HOST, "--port", str(port), "--log_level", "info"]
    for name in _LIMITS:
        built = getattr(facts, name)
        wanted = min(value for value in (built, asked.get(name)) if value) if built or asked.get(name) else None
        if wanted is not None:
            argv += [f"--{name}", str(wanted)]
    argv += [f"--{_FRACTION}", f"{fraction:g}", "--extra_llm_api_options", str(options)]
    if _chunked(facts, asked):
        argv.append("--enable_chunked_prefill")
    if facts.trust_remote_code or asked.get("trust_remote_code"):
        argv.append("--trust_remote_code")
    text = json.dumps(llm_options(facts, asked, fraction), indent=2, sort_keys=True)
    return ServeProgram(tuple(argv), f"{text}\n")


def llm_options(facts: EngineFacts, asked: Mapping[str, Any], fraction: float) -> dict[str, Any]:
    """Arguments of the run class that have no flag. JSON, which is YAML too.

    A `kv_cache_config` there takes the place of the flag's, so the fraction stands in both.
    """
    kv: dict[str, Any] = {"free_gpu_memory_fraction": fraction}
    kv["enable_block_reuse"] = bool(asked.get("enable_block_reuse")) and facts.paged_context_fmha is True
    if asked.get("kv_blocks"):
        kv["max_tokens"] = asked["kv_blocks"] * (facts.tokens_per_block or 32)
    if asked.get("kv_cache_bytes"):
        kv["max_gpu_total_bytes"] = asked["kv_cache_bytes"]
    if asked.get("host_cache_size"):
        kv["host_cache_size"] = asked["host_cache_size"]
    made: dict[str, Any] = {"kv_cache_config": kv, "return_perf_metrics": True}
    policy = asked.get("scheduler_policy", "auto")
    if policy != "auto":
        made["scheduler_config"] = {"capacity_scheduler_policy": str(policy).upper()}
    if asked.get("speculative"):
        made["speculative_config"] = _speculation(facts, asked["speculative"])
    return made


def _speculation(facts: EngineFacts, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the run class is told of an engine that was built for guesses. Raises BlockedError for more than it was
    built for.
    """
    room = facts.speculative.max_draft_len if facts.speculative is not None else 0
    if asked["mode"] == "lookahead":
        sizes = asked["window_size"], asked["ngram_size"], asked["verification_set"]
        wanted = lookahead_draft_len(*sizes)
        names = ("max_window_size", "max_ngram_size", "max_verification_set_size")
        told: dict[str, Any] = {"decoding_type": "Lookahead", **dict(zip(names, sizes, strict=True))}
    else:
        wanted = asked.get("draft_tokens") or room
        told = {"decoding_type": str(asked["mode"]).capitalize(), "max_draft_len": wanted}
        if asked.get("choices"):
            told[f"{asked['mode']}_choices"] = asked["choices"]
        if asked["mode"] == "medusa":
            told |= {"num_medusa_heads": asked["heads"]} if asked.get("heads") else {}
        else:
            told["speculative_model_dir"] = str(facts.path)  # asked for with an engine too, and not read
    if wanted > room:
        raise BlockedError(
            f"{facts.name} was built for {room} draft tokens a pass, and {wanted} are asked for.",
            evidence=f"max_draft_len {room}, speculative.mode {asked['mode']}",
            fix="Ask for fewer (smaller window, n-gram or verification set), or build the engine for more.",
            code="too-many-drafts",
        )
    return told


def serve_start(environment: Environment, program: ServeProgram, facts: EngineFacts, folder: Path) -> HostStart:
    """How the worker is started that runs the program, in the environment's own place; `folder` holds the YAML and
    the link. Raises BlockedError for an environment on another machine.
    """
    if environment.place == "remote":
        raise BlockedError(
            "A server cannot be started on another machine from here.",
            evidence=f"TensorRT-LLM is reached by {' '.join(shown_argv(environment.prefix))}",
            fix="Export a launch folder and run it there, then add it: workbench endpoint add.",
            code="remote-server",
        )
    assert facts.tokenizer is not None
    paths = (facts.path, facts.tokenizer, folder)
    argv = environment.argv("workbench.workers.trtllm.serve", paths=paths)
    if environment.place == "container":
        argv = _on_the_hosts_network(argv)
    return HostStart(
        argv=argv,
        env=environment.env(),
        spec=StepSpec(
            worker="trtllm.serve",
            settings={"argv": list(program.argv)},
            inputs={"engine": str(facts.path), "tokenizer": str(facts.tokenizer)},
        ),
        device="gpu",
    )


def check_gpus(facts: EngineFacts, gpus: Sequence[GpuSpec]) -> None:
    """Enough of the kind that it was built for; without a driver here nothing is said: the worker sees it.

    Raises BlockedError.
    """
    if not gpus:
        return
    built = facts.gpu_built_for
    wanted = built.compute_capability if built is not None else ""
    here = ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in gpus)
    if len(gpus) < facts.world_size:
        raise BlockedError(
            f"{facts.name} needs {facts.world_size} GPUs.",
            evidence=f"{facts.shape}; visible here: {len(gpus)}, {here}",
            fix="Serve it where there are enough, or build it for smaller parallel sizes.",
            code="not-enough-gpus",
        )
    others = [gpu for gpu in gpus[: facts.world_size] if wanted and gpu.capability != wanted]
    if others and built is not None:
        raise BlockedError(
            f"{facts.name} was built for another GPU.",
            evidence=f"built on {built.name} ({wanted}); here: {here}",
            fix="Build it again on this GPU: TensorRT engines run on the kind they were built on.",
            code="engine-of-other-gpu",
        )


def _chunked(facts: EngineFacts, asked: Mapping[str, Any]) -> bool:
    return bool(asked.get("enable_chunked_context", True)) and facts.paged_context_fmha is True


def _on_the_hosts_network(argv: Sequence[str]) -> tuple[str, ...]:
    """The container shares the host's network, unless its prefix says otherwise: the port is on loopback."""
    words = list(argv)
    if any(word in ("--network", "--net") or word.startswith(("--network=", "--net=")) for word in words):
        return tuple(words)
    at = words.index("run") + 1 if "run" in words else 1
    assert Path(words[0]).name in CONTAINER_PROGRAMS
    return (*words[:at], "--network", "host", *words[at:])
