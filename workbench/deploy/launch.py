"""A launch folder for an engine: what its toolchain's server needs, put into the folder that core/deploy describes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench.core.artifact import FileEntry
from workbench.core.data import data_folder, resource
from workbench.core.deploy.export import CopiedFile, Export
from workbench.core.deploy.facts import EngineFacts, EngineFile
from workbench.core.deploy.launch import LaunchOptions, Server, launch_export, model_name
from workbench.core.deploy.rtx import PROVIDER, provider_version
from workbench.core.preset import Preset, preset_from_data
from workbench.toolchains.environments import variable_of
from workbench.toolchains.running import runtime_preset
from workbench.toolchains.speculation import settled
from workbench.toolchains.tensorrt_llm.serve import serve_program

_ONNX = ("onnxruntime", "onnxruntime-genai")
_PACKAGES = {
    "openvino": ("openvino", "openvino-genai", "openvino-tokenizers"),
    "pytorch": ("torch", "transformers", "tokenizers", "accelerate", "torchao"),
    "onnxruntime": (*_ONNX, "tokenizers"),
    "tensorrt_rtx": (*_ONNX, "tokenizers"),
}
"""What an engine depends on, by version; those that its build did not report are left to what they need."""
_NEEDED = {
    "openvino": ("openvino", "openvino-genai", "openvino-tokenizers"),
    "pytorch": ("torch", "transformers"),
    "onnxruntime": _ONNX,
    "tensorrt_rtx": _ONNX,
}
_UNPINNED = {"pytorch": ("tokenizers", "accelerate"), "onnxruntime": ("tokenizers",), "tensorrt_rtx": ("tokenizers",)}
"""Needed too, in the version that fits where the build reported none."""
_FOR_CUDA = {"onnxruntime": "onnxruntime-gpu", "onnxruntime-genai": "onnxruntime-genai-cuda"}
"""The same modules for NVIDIA's GPUs; the second one's library for them serves TensorRT-RTX too."""
_WITH_CUDA = {"onnxruntime-gpu": "onnxruntime-gpu[cuda,cudnn]"}
"""Its extras bring CUDA's libraries, which are no part of a driver."""
_NOT_COPIED = ("__pycache__", "ui", "_data")
_FROM_THE_SCRIPTS = ("--tokenizer", "--host", "--port", "--extra_llm_api_options")
"""Flags of trtllm-serve that the scripts give themselves."""
_MODEL_THERE = "../model"
_NO_DRAFT = (
    "Speculative decoding is off in the folder: the draft engine stays behind. Answers are the engine's own all the "
    "same, at its own speed."
)
_WORKBENCH_DATA = (("presets", ""), ("resources", "theme.json"), ("resources", "verify_prompts.json"))


def make_launch(facts: EngineFacts, options: LaunchOptions, overrides: Sequence[str] = ()) -> Export:
    """What a launch folder of the engine would hold, with all checks; nothing is written.

    `facts`: read with `allow_missing`, so that missing ranks are among the checks. `overrides`: runtime settings, as
    `workbench serve --set`. Raises BadInputError for options and settings that cannot be.
    """
    if options.tokenizer is not None:
        facts = replace(facts, tokenizer=options.tokenizer)
    preset = _preset(facts, overrides)
    if facts.toolchain == "tensorrt_llm":
        return launch_export(facts, options, _trtllm(facts, preset, model_name(facts, options)))
    if preset.speculative.mode == "draft_target":
        # The draft is an engine of its own, in a folder that is not there.
        kept = [one for one in overrides if not one.startswith("speculative.")]
        server = replace(_workbench(facts, [*kept, "speculative.mode=none"]), notes=(_NO_DRAFT,))
        return launch_export(facts, options, server)
    return launch_export(facts, options, _workbench(facts, overrides))


def _preset(facts: EngineFacts, overrides: Sequence[str]) -> Preset:
    """The engine's own, runtime settings applied; of an engine without notes, the defaults."""
    data = facts.provenance.preset if facts.provenance else {}
    plain = {"schema": 1, "title": facts.name, "goal": "throughput", "toolchain": "tensorrt_llm"}
    built = preset_from_data(data or {**plain, "precision": {"weights": "fp16"}}, name=f"preset of {facts.path.name}")
    preset = runtime_preset(built, overrides)
    return settled(preset, built, facts.provenance) if facts.provenance else preset


def _trtllm(facts: EngineFacts, preset: Preset, name: str) -> Server:
    if facts.tokenizer is None:
        return Server()  # one of the checks says so
    there = replace(facts, path=Path("engine", name))  # no path of this machine is to stand in it
    program = serve_program(there, preset, engine=there.path, options=Path("serve.yaml"), port=1)
    arguments, words = [], iter(program.argv[3:])
    for word in words:
        if word in _FROM_THE_SCRIPTS:
            next(words)
        else:
            arguments.append(word)
    return Server(tuple(arguments), program.options)


def _workbench(facts: EngineFacts, overrides: Sequence[str]) -> Server:
    pins, versions = _packages(facts)
    ours = resource("deploy/launch/requirements-serve.txt").read_text(encoding="utf-8").split("\n")
    arguments = [part for override in overrides for part in ("--set", override)]
    model, rewritten = _model(facts)
    return Server(
        arguments=tuple(arguments),
        python_variable=variable_of(facts.toolchain),
        requirements=(*pins, *(line for line in ours if line)),
        versions=versions,
        program=_program_files(),
        model=model,
        rewritten=rewritten,
    )


def _packages(facts: EngineFacts) -> tuple[list[str], dict[str, str]]:
    """Requirements of the engine itself, and the versions that the run script looks for."""
    steps = facts.provenance.steps if facts.provenance is not None else ()
    # The last step that names a package: TensorRT-RTX's builder does not load ONNX Runtime, the steps before it do.
    reported = {name: version.partition("+")[0] for step in steps for name, version in step.versions.items()}
    names = _PACKAGES.get(facts.toolchain, ())
    found = {name: reported[name] for name in names if name in reported}
    found |= {name: reported[other] for name, other in _FOR_CUDA.items() if name in names and other in reported}
    versions = {name: "" for name in _NEEDED.get(facts.toolchain, ())} | found
    if facts.toolchain in ("onnxruntime", "tensorrt_rtx") and facts.on_gpu:
        return _for_cuda(facts, versions)
    pins = [f"{name}=={version}" if version else name for name, version in versions.items()]
    pins += [name for name in _UNPINNED.get(facts.toolchain, ()) if name not in versions]
    return pins, versions


def _for_cuda(facts: EngineFacts, versions: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """ONNX Runtime for an NVIDIA GPU. The lines have a condition, as an interpreter that is given may hold the CPU's
    distributions of the same versions: the run script looks for either."""
    lines = []
    for name, version in versions.items():
        other = _FOR_CUDA.get(name, name)
        lines.append(_WITH_CUDA.get(other, other) + (f"=={version}" if version else ""))
    if facts.targets and (provider := provider_version(facts)):
        lines.append(f"{PROVIDER}=={provider}")
    lines += [name for name in _UNPINNED[facts.toolchain] if name not in versions]
    either = {f"{name}|{_FOR_CUDA[name]}" if name in _FOR_CUDA else name: each for name, each in versions.items()}
    return [f"{line}; sys_platform == 'linux'" for line in lines], either


def _model(facts: EngineFacts) -> tuple[tuple[EngineFile, ...], dict[str, str]]:
    """Of a PyTorch engine: the files of the model that it refers to, and its own notes with the model beside it."""
    folder = Path(facts.model_path) if facts.model_path else None
    if facts.toolchain != "pytorch" or folder is None or not folder.is_dir() or facts.provenance is None:
        return (), {}
    files = tuple(
        EngineFile(path.relative_to(folder).as_posix(), path, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    notes = json.loads((facts.path / "engine.json").read_bytes())
    notes["model"] = {**(notes["model"] if isinstance(notes.get("model"), dict) else {}), "path": _MODEL_THERE}
    text = json.dumps(notes, indent=1)
    entry = FileEntry(path="engine.json", bytes=len(text.encode()), sha256=hashlib.sha256(text.encode()).hexdigest())
    model = facts.provenance.model
    moved = facts.provenance.model_copy(
        update={
            "model": model.model_copy(update={"path": _MODEL_THERE}) if model is not None else None,
            "files": tuple(entry if file.path == entry.path else file for file in facts.provenance.files),
        }
    )
    return files, {"engine.json": text, "provenance.json": moved.model_dump_json(indent=1)}


def _program_files() -> tuple[CopiedFile, ...]:
    """The program as it is installed here, without its window."""
    package = Path(__file__).resolve().parent.parent
    found = [
        CopiedFile(f"program/workbench/{path.relative_to(package).as_posix()}", path, path.stat().st_size)
        for path in sorted(package.rglob("*"))
        if path.is_file() and not any(part in _NOT_COPIED for part in path.relative_to(package).parts)
    ]
    for folder, name in _WORKBENCH_DATA:
        root = data_folder(folder)
        for path in sorted(root.rglob("*")) if not name else [root / name]:
            if path.is_file():
                inside = f"program/workbench/_data/{folder}/{path.relative_to(root).as_posix()}"
                found.append(CopiedFile(inside, path, path.stat().st_size))
    return tuple(found)
