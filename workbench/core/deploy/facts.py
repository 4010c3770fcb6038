"""Reads what an engine's folder says of the engine.

Nothing is loaded and no weights are read: config.json, engine.json, provenance.json and file sizes are enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.artifact import PROVENANCE_FILE, VERIFY_FILE, Provenance, list_files, read_provenance
from workbench.core.deploy.engine_facts import BuiltFor, EngineFacts, EngineFile, Speculative
from workbench.core.errors import BadInputError

__all__ = [
    "BuiltFor",
    "EngineFacts",
    "EngineFile",
    "Speculative",
    "has_tokenizer",
    "read_engine_facts",
    "tokenizer_files",
]

ENGINE_LINE = (1, 2)
"""The TensorRT-LLM line whose engines are read: upstream has removed engines after it, and checks their version."""

_MODES = {
    1: "",
    2: "draft_tokens_external",
    4: "medusa",
    8: "lookahead_decoding",
    16: "explicit_draft_tokens",
    32: "eagle",
}
"""Numbers of build_config.speculative_decoding_mode -> names of trtllm-build's flag."""
_PRECISIONS = {
    "FP8": "fp8",
    "W8A8_SQ_PER_CHANNEL": "int8_sq",
    "W4A16_AWQ": "int4_awq",
    "W4A8_AWQ": "w4a8_awq",
    "NVFP4": "nvfp4",
    "W8A16": "int8",
    "W4A16": "int4",
    "W4A16_GPTQ": "int4_gptq",
}
_DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
_RUNS_IT = {
    "openvino": ("openvino-genai",),
    "pytorch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt-rtx-cu13-libs", "tensorrt-rtx"),
}
"""Toolchain -> what runs its engines, by the names that a build may report its version under."""
_TOKENIZER_NAMES = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""With one of these a folder has a tokenizer."""
_TOKENIZER_FILE = re.compile(
    r"(tokenizer\.(json|model)|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)"
    r"|merges\.txt|chat_template\.(jinja|json)|generation_config\.json|[^/]+\.tiktoken)"
)


def read_engine_facts(engine: Path, *, allow_missing: bool = False) -> EngineFacts:
    """Facts of an engine's folder, made by the workbench or by trtllm-build.

    `allow_missing`: ranks that are not there are named in `ranks_missing` and not raised, for lists of checks.
    Raises BadInputError: no engine, a file that cannot be read, a rank missing or cut short, another version's engine.
    """
    engine = engine.absolute()
    if not engine.is_dir():
        raise BadInputError(f"No engine: {engine}", evidence="there is no such folder", code="no-engine")
    provenance = read_provenance(engine) if (engine / PROVENANCE_FILE).is_file() else None
    if provenance is not None and provenance.kind != "engine":
        raise BadInputError(
            f"{engine.name} is a {provenance.kind}, not an engine.",
            evidence=f"{PROVENANCE_FILE}: kind {provenance.kind}",
            fix="Build it first; `workbench engines` lists what is built.",
            code="no-engine",
        )
    if provenance is None and "build_config" not in _json(engine / "config.json", needed=True):
        raise BadInputError(
            f"Not an engine: {engine}",
            evidence=f"neither {PROVENANCE_FILE} nor a config.json of trtllm-build is in it",
            fix="Give the folder of an engine; `workbench engines` lists them.",
            code="no-engine",
        )
    if provenance is None or provenance.toolchain == "tensorrt_llm":
        return _tensorrt(engine, provenance, allow_missing)
    return _other(engine, provenance)


def tokenizer_files(folder: Path, *, remote_code: bool = False) -> tuple[EngineFile, ...]:
    """A tokenizer's files in a model's or engine's folder; `remote_code`: Python files that it comes with too."""
    try:
        names = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return ()
    return tuple(
        EngineFile(path.name, path, path.stat().st_size)
        for path in names
        if _TOKENIZER_FILE.fullmatch(path.name) or (remote_code and path.name.startswith("tokenization_"))
    )


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZER_NAMES)


def _tensorrt(engine: Path, provenance: Provenance | None, allow_missing: bool) -> EngineFacts:
    config = _json(engine / "config.json", needed=True)
    pretrained, build = _table(config, "pretrained_config"), _table(config, "build_config")
    version = config.get("version")
    if not pretrained or not build or not isinstance(version, str):
        absent = [key for key in ("version", "pretrained_config", "build_config") if not config.get(key)]
        raise _other_version(engine, "older than 1.0" if "builder_config" in config else "", f"no {', '.join(absent)}")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) != ENGINE_LINE:
        raise _other_version(engine, version, f"config.json: version {version[:40]}")
    plugins = _table(build, "plugin_config")
    tp, pp, cp = (_whole(_table(pretrained, "mapping"), f"{name}_size", 1, engine) for name in ("tp", "pp", "cp"))
    ranks = tp * pp * cp
    if ranks > 100_000:
        raise _broken(engine, f"mapping of {ranks:,} ranks")
    present, missing, cut = _ranks(engine, ranks, provenance)
    if cut:
        raise BadInputError(
            f"{engine.name} has a rank that is cut short.",
            evidence="; ".join(cut[:4]),
            fix="Copy it again from where it was built, or build it again; the earlier steps are reused.",
            code="bad-rank",
        )
    if missing and not allow_missing:
        names = ", ".join(f"rank{rank}.engine" for rank in missing[:8])
        raise BadInputError(
            f"{engine.name} lacks {len(missing)} of its {ranks} ranks.",
            evidence=f"{names} not in {engine}; config.json says tp {tp} x pp {pp}" + (f" x cp {cp}" * (cp > 1)),
            fix="Copy all rank files into one folder, or build the engine again.",
            code="missing-rank",
        )
    quantization = _table(pretrained, "quantization")
    algo, dtype = str(quantization.get("quant_algo") or ""), str(pretrained.get("dtype") or "")
    kv_algo = quantization.get("kv_cache_quant_algo")
    notes = _json(engine / "engine.json")
    gpu = _table(notes, "gpu") or _table(provenance.result if provenance else {}, "gpu")
    trusts = bool(_table(provenance.preset if provenance else {}, "model").get("trust_remote_code"))
    tokenizer = _tokenizer(engine, provenance)
    model = provenance.model if provenance else None
    precision = (provenance.precision if provenance else "") or _PRECISIONS.get(algo, algo.lower())
    return EngineFacts(
        path=engine,
        name=(provenance.name if provenance else "") or engine.name,
        toolchain="tensorrt_llm",
        toolchain_version=version,
        precision=precision or _DTYPES.get(dtype, dtype),
        kv_cache=str(kv_algo).lower() if kv_algo else _DTYPES.get(dtype, dtype),
        tp=tp,
        pp=pp,
        cp=cp,
        world_size=ranks,
        ranks_present=present,
        ranks_missing=missing,
        files=_files(engine),
        max_batch_size=_number(build, "max_batch_size"),
        max_input_len=_number(build, "max_input_len"),
        max_seq_len=_number(build, "max_seq_len"),
        max_num_tokens=_number(build, "max_num_tokens"),
        max_beam_width=_number(build, "max_beam_width"),
        paged_context_fmha=bool(plugins.get("use_paged_context_fmha")),
        tokens_per_block=_number(plugins, "tokens_per_block"),
        kv_cache_type=str(build.get("kv_cache_type") or "").rpartition(".")[2].lower(),
        speculative=_speculative(build),
        vocab_size=_number(pretrained, "vocab_size"),
        dtype=dtype,
        logits_dtype=str(pretrained.get("logits_dtype") or ""),
        architecture=str(pretrained.get("architecture") or ""),
        model_name=model.name if model else "",
        model_path=model.path if model else "",
        model_digest=model.digest if model else "",
        tokenizer=tokenizer,
        tokenizer_files=tokenizer_files(tokenizer, remote_code=trusts) if tokenizer else (),
        gpu_built_for=_built_for(gpu),
        on_gpu=True,
        gathers_context_logits=bool(build.get("gather_context_logits")),
        gathers_logits=bool(build.get("gather_generation_logits")),
        trust_remote_code=trusts,
        provenance=provenance,
    )


def _other(engine: Path, provenance: Provenance) -> EngineFacts:
    """An engine of another toolchain, or an endpoint: one process; the limits stand in its notes."""
    listed = {entry.path: entry.bytes for entry in provenance.files}
    lacking = [path for path, size in listed.items() if _size(engine / path) != size]
    if lacking:
        raise BadInputError(
            f"{engine.name} is not complete.",
            evidence=f"{', '.join(lacking[:4])} missing or of another size",
            fix="Copy it again from where it was built, or build it again; the earlier steps are reused.",
            code="broken-engine",
        )
    notes = _json(engine / "engine.json")
    limits, preset, result = _table(notes, "limits"), provenance.preset, provenance.result
    model, trusts = provenance.model, bool(_table(preset, "model").get("trust_remote_code"))
    tokenizer = _tokenizer(engine, provenance)
    versions = {**_texts(provenance.steps[-1].versions if provenance.steps else {}), **_texts(notes.get("versions"))}
    packages = _RUNS_IT.get(provenance.toolchain, ())
    is_rtx = provenance.toolchain == "tensorrt_rtx"
    on_gpu = is_rtx or str(result.get("device") or notes.get("device") or "").lower().startswith("cuda")
    computes_in = str(notes.get("dtype") or notes.get("compute") or "")
    return EngineFacts(
        path=engine,
        name=provenance.name or engine.name,
        toolchain=provenance.toolchain,
        toolchain_version=next((versions[name] for name in packages if versions.get(name)), ""),
        precision=provenance.precision,
        kv_cache=str(notes.get("kv_cache_precision") or notes.get("compute") or ""),
        tp=1,
        pp=1,
        cp=1,
        world_size=1,
        ranks_present=(0,),
        ranks_missing=(),
        files=_files(engine),
        max_batch_size=_number(limits, "max_batch_size") or _number(_table(preset, "limits"), "max_batch_size"),
        max_input_len=_number(limits, "max_input_len"),
        max_seq_len=_number(limits, "max_seq_len") or _number(_table(preset, "limits"), "max_seq_len"),
        max_num_tokens=_number(limits, "max_num_tokens"),
        max_beam_width=1,
        tokens_per_block=_number(notes, "kv_block_tokens"),
        vocab_size=_number(notes, "vocabulary"),
        dtype=computes_in,
        architecture=model.architecture if model else "",
        model_name=model.name if model else "",
        model_path=model.path if model else "",
        model_digest=model.digest if model else "",
        tokenizer=tokenizer,
        tokenizer_files=tokenizer_files(tokenizer, remote_code=trusts) if tokenizer else (),
        gpu_built_for=_built_for(_table(result, "gpu")),
        targets=_targets(notes) or _targets(result),
        on_gpu=on_gpu,
        trust_remote_code=trusts,
        provenance=provenance,
    )


def _ranks(
    engine: Path, ranks: int, provenance: Provenance | None
) -> tuple[tuple[int, ...], tuple[int, ...], list[str]]:
    """Ranks that are there, ranks that are not, and words for those whose file is cut short."""
    listed = {entry.path: entry.bytes for entry in provenance.files} if provenance else {}
    present, missing, cut = [], [], []
    for rank in range(ranks):
        name = f"rank{rank}.engine"
        size, wanted = _size(engine / name), listed.get(name)
        if size is None:
            missing.append(rank)
        elif size == 0 or (wanted is not None and wanted != size):
            cut.append(f"{name} has {size:,} bytes" + (f", not {wanted:,}" if wanted else ""))
        else:
            present.append(rank)
    return tuple(present), tuple(missing), cut


def _speculative(build: Mapping[str, Any]) -> Speculative | None:
    mode = build.get("speculative_decoding_mode")
    name = _MODES.get(mode, f"mode {mode}") if isinstance(mode, int) else str(mode or "").rpartition(".")[2].lower()
    return Speculative(name, _number(build, "max_draft_len") or 0) if name and name != "none" else None


def _tokenizer(engine: Path, provenance: Provenance | None) -> Path | None:
    if has_tokenizer(engine):
        return engine
    model = engine / provenance.model.path if provenance and provenance.model else None
    return model if model is not None and has_tokenizer(model) else None


def _built_for(gpu: Mapping[str, Any]) -> BuiltFor | None:
    name, capability = str(gpu.get("name") or ""), str(gpu.get("compute_capability") or "")
    return BuiltFor(name, capability) if name or capability else None


def _targets(data: Mapping[str, Any]) -> tuple[str, ...]:
    found = data.get("targets")
    return tuple(str(each) for each in found) if isinstance(found, list | tuple) else ()


def _files(engine: Path) -> tuple[EngineFile, ...]:
    """All files with the provenance; not what verify noted, nor another program's half-written ones."""
    paths = [path for path in list_files(engine) if path.name != VERIFY_FILE and not path.name.endswith(".new")]
    if (engine / PROVENANCE_FILE).is_file():
        paths.append(engine / PROVENANCE_FILE)
    return tuple(EngineFile(path.relative_to(engine).as_posix(), path, path.stat().st_size) for path in paths)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _json(path: Path, *, needed: bool = False) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if not needed:
            return {}
        raise BadInputError(
            f"Not an engine: {path.parent}",
            evidence=f"there is no {path.name} in it",
            fix="Give the folder of an engine; `workbench engines` lists them.",
            code="no-engine",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path.parent, f"{path.name}: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(data, dict):
        raise _broken(path.parent, f"{path.name} holds no table")
    return data


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _texts(data: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def _number(data: Mapping[str, Any], key: str) -> int | None:
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _whole(data: Mapping[str, Any], key: str, default: int, engine: Path) -> int:
    value = data.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _broken(engine, f"config.json: mapping.{key} is {str(value)[:40]}")
    return value


def _broken(engine: Path, evidence: str) -> BadInputError:
    return BadInputError(
        f"{engine.name} cannot be read.",
        evidence=evidence,
        fix="Copy it again from where it was built, or build it again; a full disk leaves such files.",
        code="broken-engine",
    )


def _other_version(engine: Path, version: str, evidence: str) -> BadInputError:
    return BadInputError(
        f"{engine.name} is an engine of another TensorRT-LLM version" + (f": {version[:40]}." if version else "."),
        evidence=evidence,
        fix="Engines of TensorRT-LLM 1.2 are taken; build it again with that version from its checkpoint.",
        code="engine-of-other-version",
    )
