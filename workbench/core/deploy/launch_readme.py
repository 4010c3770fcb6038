"""README.md of a launch folder: what it holds, how it is run, what it wants."""

from __future__ import annotations

from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.rtx import DRIVER_FROM, PROVIDER, cards, provider_version, runs_on_cpu, targets_words
from workbench.core.units import format_bytes

TITLES = {
    "tensorrt_llm": "TensorRT-LLM",
    "openvino": "OpenVINO",
    "pytorch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "tensorrt_rtx": "TensorRT-RTX",
}
"""Toolchains whose engines a launch folder can hold."""


def oldest_python(facts: EngineFacts) -> int:
    """Minor version of the oldest Python 3 that its packages are there for: ONNX Runtime 1.31 wants 3.11."""
    return 11 if facts.toolchain in ("onnxruntime", "tensorrt_rtx") else 10


def readme(facts: EngineFacts, model: str, port: int, image: str, nodes: int, gpus_per_node: int) -> str:
    """The text, in Markdown."""
    trtllm = facts.toolchain == "tensorrt_llm"
    parts = [f"# {facts.name}\n", _what(facts), "## Run it\n"]
    parts.append(_several(nodes, gpus_per_node, port) if nodes > 1 else _one(port))
    if trtllm and nodes == 1 and facts.world_size > 1:
        parts.append(
            "Its processes are started by TensorRT-LLM itself. Through Slurm or MPI instead: `sbatch job.sbatch`, or "
            "`./run-mpi.sh`.\n"
        )
    if nodes == 1:
        parts.append(
            f"In a container ({image}), whose user must be able to read this folder:\n\n```sh\ndocker compose up\n```\n"
        )
    if not trtllm and facts.toolchain != "pytorch":
        parts.append(
            "Into another Engine Workbench: `workbench engines import .` in this folder looks at the engine's "
            "checksums, copies it among the others there, and says whether it runs.\n"
        )
    parts.append("## Ask it\n")
    parts.append(_asked(model, port))
    parts.append("## What it wants\n")
    parts.append(_wants(facts, image, nodes, gpus_per_node))
    parts.append("## Who may reach it\n")
    parts.append(_reach(port) if trtllm else _reach_key(port))
    parts.append("## What is here\n")
    parts.append(_files(facts, nodes))
    return "\n".join(parts)


def _what(facts: EngineFacts) -> str:
    rows = [
        ("toolchain", f"{TITLES.get(facts.toolchain, facts.toolchain)} {facts.toolchain_version}".strip()),
        ("model", " ".join(part for part in (facts.model_name, facts.architecture) if part)),
        ("precision", facts.precision + (f", KV cache {facts.kv_cache}" if facts.kv_cache else "")),
        ("compiled for", f"compute capability {targets_words(facts)}" if facts.targets else ""),
        ("parallel", f"{facts.shape}: {facts.world_size} GPUs" if facts.world_size > 1 else ""),
        ("longest sequence", f"{facts.max_seq_len:,} tokens" if facts.max_seq_len else ""),
        ("requests at once", f"{facts.max_batch_size:,}" if facts.max_batch_size else ""),
        ("size", format_bytes(facts.size_bytes)),
    ]
    return "".join(f"- {name}: {value}\n" for name, value in rows if value)


def _one(port: int) -> str:
    return (
        "```sh\n./run.sh            # checks this machine, then serves; Ctrl+C ends it\n"
        "./smoke-test.sh     # in another terminal: waits until it is ready, then asks it\n```\n\n"
        f"It listens on 127.0.0.1:{port}; `PORT=9000 ./run.sh` on another one. Checksums of large engines take "
        "minutes: `SKIP_SUMS=1` leaves them out.\n"
    )


def _several(nodes: int, each: int, port: int) -> str:
    return (
        f"The engine takes {nodes * each} GPUs, {each} on each of {nodes} nodes, and one process a GPU. All nodes must "
        "see this folder under the same name.\n\n"
        "```sh\nsbatch job.sbatch                 # Slurm; CONTAINER=IMAGE sbatch job.sbatch with pyxis\n"
        "HOSTFILE=hostfile ./run-mpi.sh    # Open MPI over ssh: a line a node, NAME slots="
        f"{each}\n```\n\nBoth look at every node first (`check-node.sh`), and refuse another number of processes than "
        f"the engine's. The server listens on the first node, on its loopback:\n\n"
        f"```sh\nssh -L {port}:127.0.0.1:{port} FIRST-NODE\n./smoke-test.sh\n```\n"
    )


def _asked(model: str, port: int) -> str:
    return (
        f"```sh\ncurl http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f'  -d \'{{"model": "{model}", "max_tokens": 32, "messages": [{{"role": "user", "content": "Hi"}}]}}\'\n```\n'
    )


def _wants(facts: EngineFacts, image: str, nodes: int, each: int) -> str:
    built = facts.gpu_built_for
    if facts.toolchain == "tensorrt_llm":
        kind = (
            f"of compute capability {built.compute_capability} ({built.name})"
            if built
            else "of the kind it was built on"
        )
        return (
            f"- {facts.world_size} NVIDIA GPU{'s' if facts.world_size > 1 else ''} {kind}"
            + (f", {each} a node" if nodes > 1 else "")
            + "; a TensorRT engine runs on no other kind\n"
            f"- TensorRT-LLM {facts.toolchain_version}, no other version: installed, or by the image {image}\n"
            "- bash, coreutils; curl for the smoke test\n"
        )
    gpu = "- an NVIDIA GPU and its driver\n" if facts.on_gpu else ""
    if facts.targets:
        gpu = _wants_rtx(facts)
    return (
        f"- Linux on x86_64, Python 3.{oldest_python(facts)} to 3.12 with venv\n"
        f"{gpu}"
        "- the packages of requirements.txt: installed into .venv at the first start, from a folder of wheels with "
        "`WHEELS=FOLDER`, or there already with `READY_PYTHON=/its/bin/python`\n"
        "- bash, coreutils, setsid (util-linux); curl for the smoke test\n"
    )


def _wants_rtx(facts: EngineFacts) -> str:
    known = cards(facts)
    if runs_on_cpu(facts):
        without = (
            "without any NVIDIA GPU: ONNX Runtime answers with `engine/model.onnx` on the CPU. That is the same "
            "model, and not the compiled engine"
        )
    else:
        without = f"ONNX Runtime cannot run {facts.precision.upper()} on a CPU, so it wants the GPU"
    kind = targets_words(facts, "or") + (f" ({known})" if known else "")
    return (
        f"- an NVIDIA GPU of compute capability {kind}, with a driver of {DRIVER_FROM} or newer; `./check-rtx.sh` "
        "says whether it is there. TensorRT-RTX does not support Hopper (9.0) and data-centre Blackwell (10.x)\n"
        f"- TensorRT-RTX {facts.toolchain_version}, no other release: it comes with {PROVIDER} "
        f"{provider_version(facts)}, which requirements.txt names\n"
        f"- {without}\n"
        "- to be tried: those who made Engine Workbench had no such card, and have not seen a compiled engine answer "
        "there\n"
    )


def _reach(port: int) -> str:
    return (
        "trtllm-serve asks for no key and sets clients no limits, so the scripts keep it on loopback. To let others "
        f"in, put a proxy with a key and limits before 127.0.0.1:{port}; `LISTEN=0.0.0.0 OPEN=1` lets in everybody who "
        "reaches that address.\n"
    )


def _reach_key(port: int) -> str:
    return (
        f"On loopback it wants no key. On another address it does: `API_KEY=… LISTEN=0.0.0.0 PORT={port} ./run.sh`; "
        "clients send it as `Authorization: Bearer …`.\n"
    )


def _files(facts: EngineFacts, nodes: int) -> str:
    rows = [("run.sh", "checks this machine, then serves"), ("settings.sh", "what the scripts read")]
    if facts.toolchain == "tensorrt_llm":
        rows += [
            ("check-node.sh", "GPUs, versions and files of one machine"),
            ("serve.yaml", "what trtllm-serve has no flag for"),
            ("engine/", "the engine, in a folder of the model's name"),
            ("tokenizer/", "its tokenizer, which the engine does not hold"),
        ]
        if facts.world_size > 1:
            rows += [("job.sbatch", "through Slurm"), ("run-mpi.sh, hostfile", "through Open MPI")]
    else:
        rows += [
            ("engine/", "the engine"),
            ("program/", "the server"),
            ("requirements.txt", "what the server needs installed"),
        ]
        if facts.toolchain == "pytorch":
            rows.append(("model/", "the model's folder, which the engine refers to"))
        if facts.targets:
            rows += [
                ("check-rtx.sh", "whether this machine's GPUs and driver can run it"),
                ("engine/engine.trt", "what TensorRT-RTX compiled"),
                ("engine/model_ctx.onnx", "the same for ONNX Runtime's execution provider"),
                ("engine/model.onnx", "the ONNX model that it was compiled from"),
            ]
    rows += [
        *([("compose.yaml", "for docker compose")] if nodes == 1 else []),
        ("smoke-test.sh", "asks the running server"),
        ("SHA256SUMS", "of all files: `sha256sum -c SHA256SUMS`"),
    ]
    return "".join(f"- `{name}`: {text}\n" for name, text in rows)
