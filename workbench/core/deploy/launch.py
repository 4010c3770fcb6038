"""A launch folder: everything that runs one engine elsewhere. Nothing is written here; deploy/write.py does that.

The scripts ship as they are (resources/deploy/launch); what differs between engines stands in settings.sh.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.core.deploy.checks import gpu_checks, layout_checks, ranks_check, spread, tokenizer_check
from workbench.core.deploy.export import Check, CopiedFile, Export, TextFile
from workbench.core.deploy.facts import EngineFacts, EngineFile, tokenizer_files
from workbench.core.deploy.launch_readme import TITLES, oldest_python, readme
from workbench.core.deploy.rtx import DRIVER_FROM as RTX_DRIVER_FROM
from workbench.core.deploy.rtx import rtx_checks, runs_on_cpu, targets_words
from workbench.core.deploy.slurm import SlurmOptions, batch_script, hostfile, script
from workbench.core.errors import BadInputError
from workbench.core.gpu import find_gpu

DRIVER_FROM = "580"
"""NVIDIA driver that CUDA 13 comes with, which TensorRT-LLM 1.2 is built for; older ones are remarked upon only."""
RELEASE_IMAGE = "nvcr.io/nvidia/tensorrt-llm/release"
PYTHON_IMAGE = "docker.io/library/python:3.12-slim"
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,300}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True)
class LaunchOptions:
    """The choices of `workbench export launch`; all else is taken from the engine."""

    model: str = ""
    """The name that clients send; empty: made of the engine's."""
    port: int = 8000
    tokenizer: Path | None = None
    """Folder with the tokenizer, where the engine's own is not the right one."""
    gpu: str = ""
    """The kind of GPU there, by a name of the catalogue; empty: not said, the launch script looks."""
    gpus_per_node: int | None = None
    """GPUs of a machine there; None: as many as the engine takes, 8 at most."""
    nodes: int | None = None
    """Machines there; None: as many as it takes."""
    hosts: tuple[str, ...] = ()
    """Their names, for MPI's hostfile."""
    image: str = ""
    """The container's; empty: the release of the engine's own version."""
    slurm: SlurmOptions = field(default_factory=SlurmOptions)


@dataclass(frozen=True)
class Server:
    """What answers in the folder, as a toolchain says."""

    arguments: tuple[str, ...] = ()
    """Behind those that the scripts give themselves (engine, tokenizer, host, port)."""
    options: str = ""
    """Of TensorRT-LLM: text of serve.yaml."""
    python_variable: str = ""
    """Of the others: the environment variable that names the interpreter for their engines."""
    requirements: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> the version the engine was made with. `name|other`: either of them, of the same modules."""
    notes: tuple[str, ...] = ()
    """What was left behind, in words."""
    program: tuple[CopiedFile, ...] = ()
    """The program itself, under program/."""
    model: tuple[EngineFile, ...] = ()
    """Of an engine that refers to a model folder: that folder."""
    rewritten: Mapping[str, str] = field(default_factory=dict)
    """With `model`: files of the engine whose text is another there, since the model stands beside it."""


def model_name(facts: EngineFacts, options: LaunchOptions) -> str:
    """What clients call it; for TensorRT-LLM a folder's name too. Raises BadInputError."""
    name = options.model or facts.slug
    if not _FILE_NAME.fullmatch(name):
        raise BadInputError(
            f"{name[:60]!r} cannot be a model's name in a launch folder.",
            evidence="trtllm-serve shows the folder's name to clients",
            fix="Use letters, digits, dots, dashes and underscores.",
            code="bad-model-name",
        )
    return name


def launch_export(facts: EngineFacts, options: LaunchOptions, server: Server) -> Export:
    """What would be written for an engine, with all checks. Raises BadInputError for options that cannot be."""
    name = model_name(facts, options)
    image = options.image or (
        f"{RELEASE_IMAGE}:{facts.toolchain_version}" if facts.toolchain == "tensorrt_llm" else PYTHON_IMAGE
    )
    if not _IMAGE.fullmatch(image):
        raise BadInputError(f"{image[:60]!r} is not a container image's name.", code="bad-image")
    if not 1 <= options.port <= 65535:
        raise BadInputError(f"{options.port} is no port.", fix="Choose one from 1 to 65535.", code="bad-port")
    texts, copies = (
        _trtllm(facts, options, server, name) if facts.toolchain == "tensorrt_llm" else _program(facts, server)
    )
    nodes, each = spread(facts.world_size, options.gpus_per_node, options.nodes) if facts.on_gpu else (1, 0)
    settings = _settings(facts, server, name, image, options.port, nodes, each)
    texts += [
        TextFile("settings.sh", settings),
        TextFile("smoke-test.sh", script("smoke-test.sh"), executable=True),
        TextFile("README.md", readme(facts, name, options.port, image, nodes, each)),
    ]
    if nodes == 1:
        texts.append(TextFile("compose.yaml", compose(facts, image, options.port, each)))
    commands: tuple[tuple[str, ...], ...] = (("./run.sh",), ("./smoke-test.sh",))
    if nodes > 1:
        commands = (("sbatch", "job.sbatch"), ("./run-mpi.sh",), ("./smoke-test.sh",))
    return Export(
        kind="launch",
        name=f"{facts.slug}-launch",
        texts=tuple(sorted(texts, key=lambda text: text.path)),
        copies=tuple(sorted(copies, key=lambda copied: copied.path)),
        checks=tuple(_checks(facts, options, server)),
        notes=(*_notes(facts, image, nodes), *_unused(facts, options), *server.notes),
        commands=commands,
    )


def _trtllm(
    facts: EngineFacts, options: LaunchOptions, server: Server, name: str
) -> tuple[list[TextFile], list[CopiedFile]]:
    nodes, each = spread(facts.world_size, options.gpus_per_node, options.nodes)
    texts = [
        TextFile("run.sh", script("run-trtllm.sh"), executable=True),
        TextFile("check-node.sh", script("check-node.sh"), executable=True),
        TextFile("serve.yaml", server.options),
    ]
    if facts.world_size > 1:
        texts.append(TextFile("job.sbatch", batch_script(name, nodes, each, options.slurm)))
        texts.append(TextFile("run-mpi.sh", script("run-mpi.sh"), executable=True))
        hosts = hostfile(options.hosts, nodes, each)
        if hosts is not None:
            texts.append(TextFile("hostfile", hosts))
    copies = [CopiedFile(f"engine/{name}/{file.path}", file.source, file.bytes) for file in facts.engine_files]
    tokens = facts.tokenizer_files
    if options.tokenizer is not None:
        tokens = tokenizer_files(options.tokenizer, remote_code=facts.trust_remote_code)
    copies += [CopiedFile(f"tokenizer/{file.path}", file.source, file.bytes) for file in tokens]
    return texts, copies


def _program(facts: EngineFacts, server: Server) -> tuple[list[TextFile], list[CopiedFile]]:
    """An engine that our own program serves: the engine's whole folder, the program, what it needs installed."""
    texts = [
        TextFile("run.sh", script("run-workbench.sh"), executable=True),
        TextFile("requirements.txt", "".join(f"{line}\n" for line in server.requirements)),
    ]
    if facts.targets:
        texts.append(TextFile("check-rtx.sh", script("check-rtx.sh"), executable=True))
    texts += [TextFile(f"engine/{path}", text) for path, text in server.rewritten.items()]
    kept = (file for file in facts.files if file.path not in server.rewritten)
    copies = [CopiedFile(f"engine/{file.path}", file.source, file.bytes) for file in kept]
    copies += [CopiedFile(f"model/{file.path}", file.source, file.bytes) for file in server.model]
    return texts, [*copies, *server.program]


def _settings(facts: EngineFacts, server: Server, name: str, image: str, port: int, nodes: int, each: int) -> str:
    """settings.sh: what the scripts read. Every value is quoted."""
    built = facts.gpu_built_for
    values: dict[str, str | int | Sequence[str]] = {
        "ENGINE_NAME": facts.name,
        "MODEL_NAME": name,
        "WORLD_SIZE": facts.world_size,
        "SHAPE": facts.shape,
        "NODES": nodes,
        "GPUS_PER_NODE": each,
        "IMAGE": image,
        "DEFAULT_PORT": port,
        "SERVE_ARGUMENTS": server.arguments,
    }
    if facts.toolchain == "tensorrt_llm":
        values |= {
            "TENSORRT_LLM_VERSION": facts.toolchain_version,
            "GPU_NAME": built.name if built else "",
            "COMPUTE_CAPABILITY": built.compute_capability if built else "",
            "DRIVER_FROM": DRIVER_FROM,
        }
    else:
        values |= {
            "PYTHON_VARIABLE": server.python_variable,
            "PYTHON_FROM": oldest_python(facts),
            "VERSIONS": [f"{package}={version}" for package, version in server.versions.items() if version],
        }
    if facts.targets:
        values |= {
            "TARGETS": facts.targets,
            "DRIVER_FROM": RTX_DRIVER_FROM,
            "ON_CPU_TOO": int(runs_on_cpu(facts)),
        }
    lines = [
        "# shellcheck shell=bash disable=SC2034",
        "# What the scripts of this folder read; made with the engine's own limits.",
    ]
    for key, value in values.items():
        if isinstance(value, str | int):
            lines.append(f"{key}={shlex.quote(str(value))}")
        else:
            lines.append(f"{key}=({' '.join(shlex.quote(part) for part in value)})")
    return "\n".join(lines) + "\n"


def compose(facts: EngineFacts, image: str, port: int, gpus: int) -> str:
    """compose.yaml. It shares the host's network, so that the server stays on loopback unless LISTEN says otherwise."""
    trtllm = facts.toolchain == "tensorrt_llm"
    lines = [
        "# docker compose up; the server listens on 127.0.0.1 alone unless LISTEN is set (see README.md).",
        "services:",
        "  engine:",
        f"    image: {json.dumps(image)}",
        '    command: ["/launch/run.sh"]',
        "    working_dir: /launch",
        "    network_mode: host",
        "    volumes:",
        '      - ".:/launch:ro"',
        *([] if trtllm else ['      - "environment:/venv"']),
        "    environment:",
        '      LISTEN: "${LISTEN:-127.0.0.1}"',
        f'      PORT: "${{PORT:-{port}}}"',
        '      SKIP_SUMS: "${SKIP_SUMS:-}"',
        '      ANYWAY: "${ANYWAY:-}"',
        *(['      OPEN: "${OPEN:-}"'] if trtllm else ['      API_KEY: "${API_KEY:-}"', "      VENV: /venv/made"]),
        *([] if trtllm else ["      WORKBENCH_HOME: /tmp/workbench"]),
        "    cap_drop: [ALL]",
        '    security_opt: ["no-new-privileges:true"]',
        "    init: true",
        "    stop_grace_period: 45s  # running answers may end",
        '    restart: "no"',
    ]
    if gpus:
        lines += [
            "    ipc: host  # the GPUs' processes exchange through shared memory",
            "    ulimits: {memlock: -1, stack: 67108864}",
            "    deploy:",
            "      resources:",
            "        reservations:",
            "          devices:",
            f"            - {{driver: nvidia, count: {gpus}, capabilities: [gpu]}}",
        ]
    if not trtllm:
        lines += ["volumes:", "  environment: {}"]
    return "\n".join(lines) + "\n"


def _checks(facts: EngineFacts, options: LaunchOptions, server: Server) -> list[Check]:
    checks = []
    if facts.toolchain == "tensorrt_llm":
        checks = [ranks_check(facts), tokenizer_check(facts, options.tokenizer)]
        found = f"TensorRT-LLM {facts.toolchain_version}"
        checks.append(Check("the engine says which version it needs", bool(facts.toolchain_version), found))
    elif facts.toolchain not in TITLES:
        fix = f"Choose an engine of {', '.join(TITLES.values())}."
        checks = [Check("the engine is a folder", False, f"a {facts.toolchain} is a server elsewhere", fix)]
    else:
        lacks = [package for package, version in server.versions.items() if not version]
        checks = [
            Check(
                "the versions that it was made with are known",
                not lacks,
                ", ".join(
                    f"{name.partition('|')[0]} {version or 'not reported'}" for name, version in server.versions.items()
                ),
                "Build it again; the earlier steps are reused.",
                blocks=False,
            )
        ]
        if facts.toolchain == "pytorch":
            fix = "Put the model's folder back, or build the engine again."
            there = f"{facts.model_path}: {len(server.model)} files"
            checks.append(Check("the model that it refers to is there", bool(server.model), there, fix))
    gpu = find_gpu(options.gpu) if options.gpu else None
    if facts.toolchain == "tensorrt_rtx":
        checks += rtx_checks(facts, gpu)
    nodes, each = spread(facts.world_size, options.gpus_per_node, options.nodes)
    given = None
    if options.gpus_per_node is not None or options.nodes is not None:
        given = (options.gpus_per_node or each) * (options.nodes or nodes)
    checks += gpu_checks(facts, gpu, given)
    if facts.on_gpu:
        checks += layout_checks(facts, options.gpus_per_node, options.nodes)
    return checks


def _notes(facts: EngineFacts, image: str, nodes: int) -> tuple[str, ...]:
    notes = []
    if facts.toolchain == "tensorrt_llm":
        notes.append(f"{image} is the release of the engine's version; whether it can be had was not looked at.")
        notes.append("trtllm-serve has no API key: the scripts keep it on loopback unless OPEN=1 is said.")
        if facts.trust_remote_code:
            notes.append("The model brings code of its own, which the server runs: --trust_remote_code.")
    else:
        notes.append("The first start installs requirements.txt into .venv; WHEELS=FOLDER does so without a network.")
        if facts.toolchain == "openvino":
            notes.append("On another CPU the engine is compiled again as it loads.")
        if facts.toolchain == "tensorrt_rtx":
            notes.append(
                f"The compiled engine is for GPUs of compute capability {targets_words(facts)}; ./check-rtx.sh says "
                "whether a machine has one. Where there is no NVIDIA GPU, "
                + ("its ONNX model runs on the CPU." if runs_on_cpu(facts) else "it does not run.")
            )
    if nodes > 1:
        notes.append("All nodes must see the folder under the same name.")
    return tuple(notes)


def _unused(facts: EngineFacts, options: LaunchOptions) -> tuple[str, ...]:
    """What was asked for and means nothing to this engine, in words."""
    ours, one, cpu = facts.toolchain != "tensorrt_llm", facts.world_size == 1, not facts.on_gpu
    given = (
        ("--tokenizer", ours and options.tokenizer is not None),
        ("--gpu", ours and not facts.targets and bool(options.gpu)),
        ("--gpus-per-node", cpu and options.gpus_per_node is not None),
        ("--nodes", cpu and options.nodes is not None),
        ("--hosts", one and bool(options.hosts)),
        ("--partition, --account, --time", one and options.slurm != SlurmOptions()),
    )
    names = [name for name, unused in given if unused]
    if not names:
        return ()
    why = "its own server starts it as one process" if ours else "one GPU and one process run it"
    return (f"Not used for this engine: {', '.join(names)}; {why}.",)
