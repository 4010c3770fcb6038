"""A complete Triton export of an engine: the model repository, its launch, and its monitoring."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

from workbench.core.data import resource
from workbench.core.deploy.export import Check, CopiedFile, Export, TextFile
from workbench.core.deploy.facts import EngineFacts, EngineFile, tokenizer_files
from workbench.core.deploy.launch_readme import TITLES
from workbench.core.deploy.triton.checks import chosen_container, engine_checks, repository_checks
from workbench.core.deploy.triton.launching import launch_files
from workbench.core.deploy.triton.models import BACKEND, BLS, ENGINE, TOKENIZER, repository
from workbench.core.deploy.triton.monitoring import monitoring_files
from workbench.core.deploy.triton.options import TritonOptions
from workbench.core.deploy.triton.pbtxt import Model, config_text
from workbench.core.deploy.triton.readme import readme
from workbench.core.errors import BadInputError

_SOURCES = {"preprocessing": "preprocessing.py", "postprocessing": "postprocessing.py", BLS: "bls.py"}
_TEXT = "triton_text.py"


def triton_export(facts: EngineFacts, options: TritonOptions | None = None) -> Export:
    """What would be written for an engine, with all checks; nothing is written here.

    Read the facts with `allow_missing=True`, so that a missing rank is one check among the others. Raises
    BadInputError for an engine that Triton's TensorRT-LLM backend cannot run at all.
    """
    options = options or TritonOptions()
    for engine in (facts, options.draft):
        if engine is not None and engine.toolchain != "tensorrt_llm":
            raise BadInputError(
                f"Triton's TensorRT-LLM backend runs no {TITLES.get(engine.toolchain, engine.toolchain)} engine.",
                evidence=f"{engine.name}: toolchain {engine.toolchain}",
                fix="Serve it with `workbench serve`, or export a launch folder.",
                code="wrong-toolchain",
            )
    models = repository(facts, options)
    configs = {model.name: config_text(model) for model in models}
    row = chosen_container(facts, options)
    image = options.container or (row.image if row else "")
    texts = [TextFile(f"model_repository/{name}/config.pbtxt", text) for name, text in configs.items()]
    for model in models:
        texts += _version_folder(model, facts, options)
    texts += launch_files(facts, options, image, models)
    texts += monitoring_files(facts, options)
    texts.append(TextFile("README.md", readme(facts, options, image, row)))
    copies = _copies(facts, options)
    if not options.copy_engine:
        texts.append(TextFile("engine/MOUNTED.txt", f"The engine is mounted here: {facts.path}\n"))
        if options.draft is not None:
            texts.append(TextFile("draft_engine/MOUNTED.txt", f"The engine is mounted here: {options.draft.path}\n"))
    checks = [*engine_checks(facts, options), *repository_checks(models, configs), _shell_safe(facts, options)]
    return Export(
        "triton" if options.form == "ensemble" else "triton_llmapi",
        f"{facts.slug}-triton" + ("" if options.form == "ensemble" else "-llmapi"),
        tuple(texts),
        copies,
        tuple(checks),
        notes=_notes(facts, options),
        commands=(("docker", "compose", "up", "--detach", "--wait"), ("python3", "smoke_test.py"), ("./aiperf.sh",)),
    )


def _version_folder(model: Model, facts: EngineFacts, options: TritonOptions) -> list[TextFile]:
    folder = f"model_repository/{model.name}/1"
    if model.name in _SOURCES:
        return [
            TextFile(f"{folder}/model.py", _source(_SOURCES[model.name])),
            TextFile(f"{folder}/{_TEXT}", _source(_TEXT)),
        ]
    if options.form == "llmapi":
        return [
            TextFile(f"{folder}/model.py", _source("llmapi.py")),
            TextFile(f"{folder}/model.yaml", model_yaml(facts, options)),
        ]
    # Triton wants the version's folder to be there, even with nothing in it; empty folders are lost when copied.
    return [TextFile(f"{folder}/.keep", "")]


def _source(name: str) -> str:
    return resource(f"deploy/triton/{name}").read_text("utf-8")


def model_yaml(facts: EngineFacts, options: TritonOptions) -> str:
    """Settings of the LLM class for engines, from the engine's limits."""
    reuse = bool(facts.paged_context_fmha) and (facts.max_beam_width or 1) == 1 and options.kv_reuse
    kv: dict[str, Any] = {"free_gpu_memory_fraction": options.kv_fraction, "enable_block_reuse": reuse}
    if options.kv_host_bytes:
        kv["host_cache_size"] = options.kv_host_bytes
    settings: dict[str, Any] = {
        "model": ENGINE,
        "backend": "tensorrt",
        "tokenizer": TOKENIZER,
        "tensor_parallel_size": facts.tp,
        "pipeline_parallel_size": facts.pp,
    }
    if facts.cp > 1:
        settings["context_parallel_size"] = facts.cp
    limits = {name: getattr(facts, name) for name in ("max_batch_size", "max_num_tokens", "max_seq_len")}
    settings |= {name: value for name, value in limits.items() if value}
    settings |= {
        "max_beam_width": facts.max_beam_width or 1,
        "enable_chunked_prefill": bool(facts.paged_context_fmha) and options.chunked_context,
        "trust_remote_code": facts.trust_remote_code,
        "kv_cache_config": kv,
        "scheduler_config": {"capacity_scheduler_policy": options.scheduler.upper()},
        "triton_config": {"max_batch_size": 0, "decoupled": options.decoupled},
    }
    return "\n".join(_yaml_lines(settings)) + "\n"


def _yaml_lines(table: dict[str, Any], indent: str = "") -> list[str]:
    """Tables of plain values as YAML; strings in JSON's quotes, which are YAML's too."""
    lines: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_yaml_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}")
    return lines


def _copies(facts: EngineFacts, options: TritonOptions) -> tuple[CopiedFile, ...]:
    tokenizer = facts.tokenizer_files
    if options.tokenizer is not None:
        tokenizer = tokenizer_files(options.tokenizer, remote_code=facts.trust_remote_code)
    found = [_copied("tokenizer", file) for file in tokenizer]
    if options.copy_engine:
        found += [_copied("engine", file) for file in facts.engine_files]
        if options.draft is not None:
            found += [_copied("draft_engine", file) for file in options.draft.engine_files]
    return tuple(found)


def _copied(folder: str, file: EngineFile) -> CopiedFile:
    return CopiedFile(f"{folder}/{file.path}", file.source, file.bytes)


def _shell_safe(facts: EngineFacts, options: TritonOptions) -> Check:
    """Paths that are mounted must be one line: neither YAML nor a shell has words for more."""
    paths = [] if options.copy_engine else [facts.path, *([options.draft.path] if options.draft else [])]
    strange = [str(path) for path in paths if not str(path).isprintable()]
    return Check("paths can be written", not strange, ", ".join(map(repr, strange)), "Rename the folder.")


def _notes(facts: EngineFacts, options: TritonOptions) -> tuple[str, ...]:
    found = []
    if not ip_address(options.host).is_loopback:
        found.append(f"Published on {options.host}: Triton asks for no key, so all who reach that address can use it.")
    if options.form == "llmapi":
        found.append(
            "The container's own llmapi model runs PyTorch models and refuses engine folders: this repository brings "
            "a model of its own with the same tensor names."
        )
    elif options.decoupled:
        found.append(f"Stream through {BLS}: the ensemble turns each piece into text by itself.")
    if options.form == "ensemble" and not (facts.paged_context_fmha):
        found.append("Without use_paged_context_fmha the engine cannot reuse KV blocks nor take prompts in chunks.")
    if options.baseline is None:
        found.append("No baseline was given, so no alert compares the throughput with a measured one.")
    elif options.form == "llmapi":
        found.append(f"{BACKEND} in Python counts no tokens, so no alert compares the throughput with the baseline.")
    return tuple(found)
