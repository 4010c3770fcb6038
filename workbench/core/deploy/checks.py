"""Checks that exports share: ranks, tokenizer, GPUs, how processes spread over nodes."""

from __future__ import annotations

from pathlib import Path

from workbench.core.deploy.export import Check
from workbench.core.deploy.facts import EngineFacts, has_tokenizer
from workbench.core.gpu import GpuSpec

MOST_ON_ONE_NODE = 8
"""GPUs that a node is taken to have when nobody says otherwise."""


def spread(world_size: int, gpus_per_node: int | None, nodes: int | None = None) -> tuple[int, int]:
    """Nodes, and GPUs of each, for so many processes; `gpus_per_node`: what a node has, `nodes`: how many there are."""
    if gpus_per_node is None and nodes:
        return min(nodes, world_size), -(-world_size // nodes)
    most = gpus_per_node or MOST_ON_ONE_NODE
    if world_size <= most:
        return 1, world_size
    return -(-world_size // most), most


def ranks_check(facts: EngineFacts) -> Check:
    """Every rank's file is there."""
    missing = facts.ranks_missing
    there = f"{len(facts.ranks_present)} rank file{'s' if len(facts.ranks_present) != 1 else ''} for {facts.shape}"
    if missing:
        there += f"; missing: {', '.join(f'rank{rank}.engine' for rank in missing[:8])}"
    return Check("all ranks are there", not missing, there, "Copy all rank files into the engine's folder.")


def tokenizer_check(facts: EngineFacts, chosen: Path | None = None) -> Check:
    """A tokenizer is there; `chosen`: the folder that was asked for instead of the engine's own."""
    folder = chosen or facts.tokenizer
    there = folder is not None and has_tokenizer(folder)
    found = str(folder) if there else f"none in {chosen or facts.path}"
    if not there and chosen is None and facts.model_path:
        found += f" and none in {facts.model_path}"
    return Check("the tokenizer is there", there, found, "Name the model's folder with --tokenizer.")


def gpu_checks(facts: EngineFacts, gpu: GpuSpec | None, gpus: int | None) -> tuple[Check, ...]:
    """The kind and number of GPUs of the machine that it goes to; None: not said, so only what is known is told."""
    if not facts.on_gpu:
        return ()
    built, checks = facts.gpu_built_for, []
    capability = built.compute_capability if built else ""
    if facts.toolchain == "tensorrt_llm":
        if gpu is not None and capability:
            found = f"built on {built.name if built else ''} ({capability}), to run on {gpu.name} ({gpu.capability})"
            fix = f"Build it again on {gpu.name}: a TensorRT engine runs on the kind of GPU it was built on."
            checks.append(Check("the GPU is of the kind it was built for", gpu.capability == capability, found, fix))
        elif not capability:
            fix = "Build it with the workbench, which notes the GPU; or run it on the machine it was built on."
            checks.append(
                Check("the GPU that it was built on is known", False, "not reported by the engine", fix, blocks=False)
            )
        else:
            found = f"{built.name if built else ''} ({capability}); the launch script looks for it"
            checks.append(Check("the GPU that it was built on is known", True, found))
    if gpus is not None:
        found = f"{facts.world_size} needed for {facts.shape}, {gpus} given"
        fix = "Give more GPUs or nodes, or build the engine for smaller parallel sizes."
        checks.append(Check("there are enough GPUs", gpus >= facts.world_size, found, fix))
    return tuple(checks)


def layout_checks(facts: EngineFacts, gpus_per_node: int | None, nodes: int | None = None) -> tuple[Check, ...]:
    """Whether its processes fill nodes equally, and layers stay within one."""
    if facts.world_size == 1:
        return ()
    nodes, each = spread(facts.world_size, gpus_per_node, nodes)
    found = (
        f"{facts.world_size} processes on {nodes} node{'s' if nodes > 1 else ''} of {each} GPU{'s' if each > 1 else ''}"
    )
    checks = [
        Check(
            "the processes fill the nodes equally",
            facts.world_size == nodes * each,
            found,
            f"Choose --gpus-per-node or --nodes so that it divides {facts.world_size}.",
        )
    ]
    if nodes > 1:
        checks.append(
            Check(
                "tensor parallel GPUs share a node",
                facts.tp <= each and each % facts.tp == 0,
                f"tp {facts.tp}, {each} GPU{'s' if each > 1 else ''} a node",
                "Build with tp up to a node's GPUs and pp over the nodes: all GPUs of a layer talk at every token.",
                blocks=False,
            )
        )
    return tuple(checks)
