"""`trtllm-build`: reads a checkpoint for real, follows the documented order and log, writes files that are marked."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tensorrt_llm import __version__
from tensorrt_llm._standin import MARK, gpus, option, sm
from tensorrt_llm._standin.checkpoint import check_rank, read_config
from tensorrt_llm._standin.failures import fail_at
from tensorrt_llm._standin.flags import FLAGS, SWITCH, Flag
from tensorrt_llm._standin.layout import DTYPES, world_size
from tensorrt_llm._standin.log import Log

NETWORK = "Unnamed Network 0"
WEIGHT_ONLY = ("W8A16", "W4A16", "W4A16_AWQ", "W4A8_AWQ", "W8A16_GPTQ", "W4A16_GPTQ")
BUILD_KEYS = {
    "max_input_len": 1024, "max_seq_len": None, "opt_batch_size": 8, "max_batch_size": 2048, "max_beam_width": 1,
    "max_num_tokens": 8192, "opt_num_tokens": None, "max_prompt_embedding_table_size": 0, "kv_cache_type": None,
    "gather_context_logits": False, "gather_generation_logits": False, "strongly_typed": True,
    "force_num_profiles": None, "profiling_verbosity": "layer_names_only", "enable_debug_output": False,
    "max_draft_len": 0, "speculative_decoding_mode": 1, "use_refit": False, "input_timing_cache": None,
    "output_timing_cache": "model.cache", "lora_config": None, "weight_sparsity": False, "weight_streaming": False,
    "plugin_config": None, "use_strip_plan": False, "max_encoder_input_len": 1024, "monitor_memory": False,
    "use_mrope": False, "dry_run": False, "visualize_network": None,
}  # fmt: skip
MODES = {"draft_tokens_external": 2, "medusa": 4, "lookahead_decoding": 8, "explicit_draft_tokens": 16, "eagle": 32}
KNOWN_KEYS = {
    "architecture", "dtype", "logits_dtype", "vocab_size", "max_position_embeddings", "hidden_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_size", "qk_layernorm", "hidden_act",
    "intermediate_size", "norm_epsilon", "position_embedding_type", "rotary_embedding_dim", "use_parallel_embedding",
    "embedding_sharding_dim", "mapping", "quantization", "runtime_defaults", "rotary_base", "rotary_scaling",
    "attn_bias", "mlp_bias",
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="trtllm-build", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for flag in FLAGS:
        names = [f"--{name}" for name in (flag.name, *flag.aliases)]
        if flag.kind == "switch":
            made.add_argument(*names, dest=flag.name, action="store_true", help=" ")
            continue
        default = argparse.SUPPRESS if flag.name in ("kv_cache_type", "paged_kv_cache") else flag.default
        made.add_argument(
            *names,
            dest=flag.name,
            type=int if flag.kind == "int" else str,
            nargs="+" if flag.kind == "strs" else None,
            choices=flag.choices or None,
            default=default,
            help=" ",
        )
    return made


def plugin_config(args: argparse.Namespace, log: Log) -> dict[str, Any]:
    """The plugin part of the engine's config, and the echo of it."""
    made: dict[str, Any] = {}
    for flag in FLAGS:
        if flag.plugin:
            made[flag.name] = _plugin_value(flag, getattr(args, flag.name))
            log.python(f"Set PluginConfig.{flag.name} to {made[flag.name]}.")
    made |= {"paged_kv_cache": None, "manage_weights": bool(args.fast_build)}
    if sm() == 100:
        for name in ("gemm_swiglu_plugin", "fp8_rowwise_gemm_plugin", "low_latency_gemm_plugin",
                     "low_latency_gemm_swiglu_plugin", "bert_context_fmha_fp32_acc"):  # fmt: skip
            if made[name]:
                raise NotImplementedError(f"{name}={made[name]} is not supported on SM 100.")
    return made


def _plugin_value(flag: Flag, value: Any) -> Any:
    if flag.choices == SWITCH:
        return value == "enable"
    return None if value == "disable" else value


def build_config(args: argparse.Namespace, plugins: dict[str, Any]) -> dict[str, Any]:
    if args.build_config is not None:
        given = json.loads(Path(args.build_config).read_text("utf-8"))
        for key in given:
            if key not in BUILD_KEYS:
                raise ValueError(f"1 validation error for BuildConfig\n{key}\n  Extra inputs are not permitted")
        return {**BUILD_KEYS, "plugin_config": plugins, **given}
    if args.multiple_profiles == "enable" and args.opt_num_tokens is not None:
        raise RuntimeError(
            "multiple_profiles is enabled, while opt_num_tokens is set. They are not supposed to be working in the "
            "same time for now."
        )
    made = {**BUILD_KEYS, "plugin_config": plugins}
    for key in BUILD_KEYS:
        if hasattr(args, key) and key not in ("plugin_config", "build_config"):
            made[key] = getattr(args, key)
    forced = os.environ.get("BUILDER_FORCE_NUM_PROFILES")
    made["force_num_profiles"] = None if forced is None else int(forced)
    made["speculative_decoding_mode"] = MODES.get(args.speculative_decoding_mode or "", 1)
    made["use_strip_plan"] = args.strip_plan
    made["lora_config"] = {
        "lora_dir": args.lora_dir or [], "lora_ckpt_source": args.lora_ckpt_source,
        "max_lora_rank": args.max_lora_rank, "lora_target_modules": args.lora_target_modules or [],
    }  # fmt: skip
    if made["kv_cache_type"] is not None:
        made["kv_cache_type"] = made["kv_cache_type"].upper()
    return made


def resolve(made: dict[str, Any], model: dict[str, Any], log: Log) -> dict[str, Any]:
    """Sizes and plugins as the build settles them, for one rank."""
    made = {**made, "plugin_config": dict(made["plugin_config"])}
    plugins = made["plugin_config"]
    assert not plugins["streamingllm"], "StreamingLLM is no longer supported"
    assert not plugins["pp_reduce_scatter"], "PP reduce scatter is only supported in the mixtral model."
    for key in ("max_batch_size", "max_num_tokens", "max_beam_width", "max_input_len"):
        assert made[key] > 0, f"{key} must be positive"
    quant = model.get("quantization") or {}
    algo, kv_algo = quant.get("quant_algo"), quant.get("kv_cache_quant_algo")
    if made["kv_cache_type"] is None:
        made["kv_cache_type"] = "PAGED"
    plugins["paged_kv_cache"] = made["kv_cache_type"] == "PAGED"
    if plugins["paged_state"]:
        log.python("Overriding paged_state to False", "W")
        plugins["paged_state"] = False
    scaling = model.get("rotary_scaling") or {}
    kind = scaling.get("type", scaling.get("rope_type"))
    factor = scaling.get("factor", 1.0) if kind not in ("su", "longrope", "llama3") else 1
    positions = model.get("max_position_embeddings")
    if made["max_seq_len"] is None:
        made["max_seq_len"] = int((positions or 2048) * factor)
        log.python(f"max_seq_len is not specified, using deduced value {made['max_seq_len']}")
    elif positions is not None and made["max_seq_len"] > positions * factor:
        log.python(
            f"max_seq_len {made['max_seq_len']} is larger than max_position_embeddings {positions} * rotary scaling "
            f"{factor}, the model accuracy might be affected", "W",
        )  # fmt: skip
    if made["max_input_len"] > made["max_seq_len"]:
        log.python(
            f"max_input_len is {made['max_input_len']} is larger than max_seq_len {made['max_seq_len']}, clipping it "
            "to max_seq_len", "W",
        )  # fmt: skip
        made["max_input_len"] = made["max_seq_len"]
    if made["max_num_tokens"] > 16384:
        log.python("Specifying a `max_num_tokens` larger than 16384 is usually not recommended", "W")
    most = made["max_seq_len"] * made["max_batch_size"]
    if made["max_num_tokens"] > most:
        log.python(
            f"max_num_tokens ({made['max_num_tokens']}) shouldn't be greater than {most}, specifying to it.", "W"
        )
        made["max_num_tokens"] = most
    if made["opt_num_tokens"] is None:
        log.python("opt_num_tokens is not set, specifying to max_batch_size*max_beam_width.", "W")
        made["opt_num_tokens"] = min(made["max_batch_size"] * made["max_beam_width"], made["max_num_tokens"])
    if plugins["remove_input_padding"] and plugins["context_fmha"]:
        log.python("padding removal and fMHA are both enabled, max_input_len is not required and will be ignored", "W")
    for key in ("gpt_attention_plugin", "bert_attention_plugin", "gemm_plugin", "lora_plugin", "moe_plugin"):
        if plugins[key] == "auto":
            plugins[key] = model["dtype"]
    plugins["nccl_plugin"] = model["dtype"] if world_size(model) > 1 else None
    if algo == "NVFP4" and plugins["gemm_plugin"] != "nvfp4":
        plugins["gemm_plugin"] = "nvfp4"
    if plugins["gemm_swiglu_plugin"] and not plugins["use_fused_mlp"]:
        raise RuntimeError("GemmSwiGLU plugin requires --use_fused_mlp flag")
    if algo not in (None, "FP8", "MIXED_PRECISION"):
        plugins["use_fused_mlp"] = False
    tp = int((model.get("mapping") or {}).get("tp_size", 1))
    if plugins["reduce_fusion"] and tp == 1:
        log.python("Overriding reduce_fusion to False", "W")
        plugins["reduce_fusion"] = False
    if plugins["user_buffer"] and not plugins["reduce_fusion"]:
        plugins["user_buffer"] = False
    if plugins["use_fp8_context_fmha"] and (algo not in ("FP8", "W4A8_AWQ", "NVFP4") or kv_algo != "FP8" or sm() < 89):
        log.python("FP8 Context FMHA is disabled because it must be used together with the fp8 quantization.", "W")
        plugins["use_fp8_context_fmha"] = False
    if kv_algo == "INT8" or (kv_algo == "FP8" and not plugins["use_fp8_context_fmha"]):
        plugins["use_paged_context_fmha"] = False
    if made["speculative_decoding_mode"] != 1:
        made["max_seq_len"] += made["max_draft_len"]
        assert made["max_draft_len"] > 0, "max_draft_len must be set with a speculative decoding mode"
    if made["speculative_decoding_mode"] == MODES["eagle"]:
        assert made["max_batch_size"] <= 512 and made["max_draft_len"] <= 256, "Eagle: batch <= 512, draft len <= 256"
    if 100 <= sm() < 120:
        if algo in WEIGHT_ONLY or kv_algo == "INT8":
            raise RuntimeError(f"INT8/INT4 quantization ({algo}, KV {kv_algo}) is not supported on SM>=100.")
        if algo in ("W8A8_SQ_PER_CHANNEL", "FP8_PER_CHANNEL_PER_TOKEN"):
            raise RuntimeError(f"{algo} is not supported on SM>=100.")
    least = {"FP8": 89, "FP8_PER_CHANNEL_PER_TOKEN": 89, "W4A8_AWQ": 89, "NVFP4": 100}.get(algo or "", 80)
    if sm() < least:
        raise RuntimeError(f"stand-in: {algo or model['dtype']} needs SM {least}, this is {sm()}")
    return made


def build_rank(rank: int, gpu: int, args: argparse.Namespace, made: dict[str, Any]) -> None:
    """Build and save one rank's engine; runs in a process of its own with several workers."""
    log = Log(os.environ.get("TLLM_LOG_LEVEL") or args.log_level)
    assert gpu < gpus(), "CUDA error: invalid device ordinal"
    seconds = float(option("SECONDS", "0.05"))
    fail_at("load", log)
    path = config_path(args)
    model, quant_cfg = read_config(path)
    digest, size, count = "", 0, 0
    if args.checkpoint_dir and not args.checkpoint_dir.lower().endswith(".json"):
        digest, size, count = check_rank(path.parent, model, quant_cfg, rank)
    if args.logits_dtype is not None:
        model["logits_dtype"] = args.logits_dtype
    made = resolve(made, model, log)
    fail_at("start", log)
    mib = max(size >> 20, 1)
    log.tensorrt(f"[MemUsageChange] Init CUDA: CPU +13, GPU +0, now: CPU {1400 + mib}, GPU {500 + mib} (MiB)")
    log.tensorrt(
        "[MemUsageChange] Init builder kernel library: CPU +2088, GPU +374, "
        f"now: CPU {3600 + mib}, GPU {874 + mib} (MiB)"
    )
    fail_at("network", log)
    log.tensorrt("Unused Input: position_ids", "W")
    log.python(f"Total time of constructing network from module object {seconds * 0.1:.4f} seconds")
    log.python(f"Total optimization profiles added: {4 if made['plugin_config']['multiple_profiles'] else 1}")
    log.python(f"Total time to initialize the weights in network {NETWORK}: 00:00:00")
    log.python(f"Build TensorRT engine {NETWORK}")
    began = time.monotonic()
    compile_lines(log, seconds, size, count)
    took = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - began))
    log.tensorrt(f"Engine generation completed in {time.monotonic() - began:.3f} seconds.")
    log.tensorrt(f"[MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 10 MiB, GPU {mib} MiB")
    log.tensorrt(f"[MemUsageStats] Peak memory usage during Engine building and serialization: CPU: {4000 + mib} MiB")
    log.python(f"Total time of building {NETWORK}: {took}")
    if rank == 0 and made["output_timing_cache"]:
        save_timing_cache(made, count, log)
    log.python(f"Build phase peak memory: {4000 + 2 * mib}.12 MB, children: 18.38 MB")
    save(rank, args, made, model, quant_cfg, digest, size, log)


def compile_lines(log: Log, seconds: float, size: int, count: int) -> None:
    lines = (
        "Global timing cache in use. Profiling results in this builder pass will be stored.",
        "Compiler backend is used during engine build.",
        "[GraphReduction] The approximate region cut reduction algorithm is called.",
        "Detected 16 inputs and 1 output network tensors.",
        "Total Host Persistent Memory: 28832 bytes",
        "Total Device Persistent Memory: 0 bytes",
        "Max Scratch Memory: 67141632 bytes",
        f"[BlockAssignment] Started assigning block shifts. This will take {count} steps to complete.",
        "Total Activation Memory: 134284288 bytes",
        f"Total Weights Memory: {size} bytes",
    )
    for place, line in enumerate(lines):
        if place == 3:
            fail_at("compile", log)
        time.sleep(seconds / len(lines))
        log.tensorrt(line)


def save_timing_cache(made: dict[str, Any], count: int, log: Log) -> None:
    entries = {"sm": sm(), "version": __version__, "builds": 1}
    given = made["input_timing_cache"]
    if given is not None and Path(given).is_file():
        mark, _, rest = Path(given).read_text("utf-8").partition("\n")
        old = json.loads(rest)
        if mark != MARK or (old["sm"], old["version"]) != (sm(), __version__):
            raise RuntimeError("stand-in: the timing cache is of another GPU or version")
        entries["builds"] = old["builds"] + 1
    log.tensorrt(f"Serialized {count} bytes of code generator cache.")
    log.tensorrt(f"Serialized {count} timing cache entries")
    Path(made["output_timing_cache"]).write_text(f"{MARK}\n{json.dumps(entries)}", "utf-8")
    log.python(f"Timing cache serialized to {made['output_timing_cache']}")


def save(
    rank: int, args: argparse.Namespace, made: dict[str, Any], model: dict[str, Any],
    quant_cfg: dict[str, Any] | None, digest: str, size: int, log: Log,
) -> None:  # fmt: skip
    """config.json first (rank 0 only), the engine file last: a config alone means nothing."""
    out = Path(args.output_dir)
    if rank == 0:
        shown = {key: value for key, value in made.items() if key not in ("dry_run", "visualize_network")}
        mapping = {"world_size": 1, "gpus_per_node": 8, "cp_size": 1, "tp_size": 1, "pp_size": 1, "moe_tp_size": 1,
                   "moe_ep_size": 1}  # fmt: skip
        pretrained = {**model, "mapping": {**mapping, **(model.get("mapping") or {})}}
        config = {"version": __version__, "pretrained_config": pretrained, "build_config": shown}
        if quant_cfg is not None and (model.get("quantization") or {}).get("quant_algo") == "MIXED_PRECISION":
            (out / "quant_cfg.json").write_text(json.dumps({"version": __version__, **quant_cfg}, indent=4), "utf-8")
        (out / "config.json").write_text(json.dumps(config, indent=4), "utf-8")
    fail_at("serialize", log)
    if made["dry_run"]:
        return
    path = out / f"rank{rank}.engine"
    began = time.monotonic()
    log.python(f"Serializing engine to {path}...")
    facts = {"rank": rank, "version": __version__, "sm": sm(), "digest": digest, "weights_bytes": size}
    path.write_bytes(f"{MARK}\n{json.dumps(facts)}\n".encode() + bytes(min(size, 1 << 20)))
    took = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - began))
    log.python(f"Engine serialized. Total time: {took}")


def config_path(args: argparse.Namespace) -> Path:
    given = args.checkpoint_dir if args.checkpoint_dir is not None else args.model_config
    return Path(given) if given.lower().endswith(".json") else Path(given) / "config.json"


def main() -> None:
    args = parser().parse_args()
    log = Log(os.environ.get("TLLM_LOG_LEVEL") or args.log_level)
    log.python(
        "Option --gather_generation_logits is deprecated, a build flag is not required anymore. Use "
        "--output_generation_logits at runtime instead.", "W",
    )  # fmt: skip
    if args.gather_all_token_logits:
        args.gather_context_logits = args.gather_generation_logits = True
    if args.gather_context_logits and args.max_draft_len > 0:
        raise RuntimeError("Gather context logits is not support with draft len > 0.")
    began = time.monotonic()
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    if args.model_cls_file is not None:
        assert args.model_cls_name is not None
        raise NotImplementedError("the stand-in loads no custom model class")
    workers = min(gpus(), args.workers)
    if hasattr(args, "paged_kv_cache"):
        log.python("Option --paged_kv_cache is deprecated, use --kv_cache_type=paged/disabled instead.", "W")
    plugins = plugin_config(args, log)
    model, _ = read_config(config_path(args))
    for key, value in model.items():
        if key not in KNOWN_KEYS:
            log.python(
                f"Implicitly setting {model['architecture'].removesuffix('ForCausalLM')}Config.{key} = {value}", "W"
            )
    assert model["dtype"] in DTYPES
    made = build_config(args, plugins)
    for folder in args.lora_dir or []:
        assert (Path(folder) / "adapter_config.json").is_file(), f"no adapter_config.json in {folder}"
    ranks = world_size(model)
    if workers == 1:
        for rank in range(ranks):
            build_rank(rank, 0, args, made)
    else:
        with ProcessPoolExecutor(mp_context=get_context("spawn"), max_workers=workers) as pool:
            futures = [pool.submit(build_rank, rank, rank % workers, args, made) for rank in range(ranks)]
            failed = 0
            for future in as_completed(futures):
                try:
                    future.result()
                except Exception:
                    traceback.print_exc()
                    failed += 1
        assert failed == 0, "Engine building failed, please check error log."
    took = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - began))
    log.python(f"Total time of building all engines: {took}")


if __name__ == "__main__":
    sys.exit(main())
