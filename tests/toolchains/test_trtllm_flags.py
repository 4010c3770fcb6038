"""The flags of trtllm-build: values, unknown and gone names, dependencies, GPUs, and what a preset asks for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import BadInputError, Failure
from workbench.core.preset import Preset
from workbench.toolchains.tensorrt_llm import flags
from workbench.toolchains.tensorrt_llm.flags import (
    build_argv,
    changed_flags,
    check_flags,
    find_flag,
    flag_table,
    gone_flags,
    normal_flags,
    settings_from_preset,
    unknown_flag,
)

DATA = json.loads((Path(flags.__file__).with_name("flags.json")).read_text("utf-8"))


def preset(weights="fp16", kv="auto", flags=None, limits=None, **parallel) -> Preset:
    return Preset.model_validate(
        {
            "title": "T",
            "goal": "try-it",
            "toolchain": "tensorrt_llm",
            "precision": {"weights": weights, "kv_cache": kv},
            "limits": limits or {},
            "parallel": parallel,
            "build": {"flags": flags or {}},
        }
    )


def codes(settings, capability=None, precision=None, **more) -> list[tuple[str, bool]]:
    return [(p.code, p.blocks) for p in check_flags(settings, capability, precision, **more)]


# --- the table ---


def test_the_table_holds_every_flag_of_the_data():
    assert [flag.name for flag in flag_table()] == [entry["name"] for entry in DATA["flags"]]
    assert len({name for flag in flag_table() for name in (flag.name, *flag.aliases)}) == len(flag_table()) + 2


def test_every_flag_can_be_shown_and_searched():
    for flag in flag_table():
        assert flag.help and flag.group and flag.source and flag.wants, flag.name
        if flag.type == "integer" and flag.name != "max_lora_rank":
            assert flag.unit, flag.name
        if flag.choices and isinstance(flag.default, str):
            assert flag.default in flag.choices, flag.name
        assert isinstance(flag.default, bool) == (flag.type == "switch"), flag.name


def test_what_flags_depend_on_is_in_the_table():
    for flag in flag_table():
        for need in flag.depends:
            other = find_flag(need.flag)
            assert other is not None and set(need.values) <= set(other.choices), flag.name
        for rule in flag.gpu_rules:
            assert set(rule.values) <= set(flag.choices), flag.name


def test_the_source_is_said():
    assert "commands/build.py @65f1d1536e18" in DATA["source"] and DATA["caveat"]


# --- argv ---


def test_argv_of_each_kind_of_flag():
    assert build_argv(
        {
            "--gemm_plugin": "auto",
            "checkpoint_dir": "/c",
            "output_dir": "/e",
            "max_batch_size": 8,
            "use_fp8_context_fmha": True,
            "context_fmha": False,
            "weight_streaming": True,
            "strip_plan": False,
            "lora_dir": ["/a", "/b"],
            "kv_cache_type": None,
        }
    ) == (
        "trtllm-build",
        "--checkpoint_dir", "/c",
        "--output_dir", "/e",
        "--max_batch_size", "8",
        "--weight_streaming",
        "--lora_dir", "/a", "/b",
        "--gemm_plugin", "auto",
        "--context_fmha", "disable",
        "--use_fp8_context_fmha", "enable",
    )  # fmt: skip


def test_another_program_comes_first():
    assert build_argv({"checkpoint_dir": "/c"}, ["/opt/trtllm-build"])[0] == "/opt/trtllm-build"


def test_a_checkpoint_is_needed():
    with pytest.raises(BadInputError) as error:
        build_argv({"max_batch_size": 8})
    assert error.value.failure.code == "no-checkpoint"


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("max_batch_size", "8", "a whole number from 1"),
        ("max_batch_size", 0, "a whole number from 1"),
        ("max_batch_size", True, "a whole number"),
        ("max_batch_size", 2.0, "a whole number"),
        ("max_batch_size", 2**40, "a whole number"),
        ("weight_streaming", "enable", "true or false"),
        ("gemm_plugin", "fp16", "Nearest: float16"),
        ("gemm_plugin", True, "one of auto"),
        ("context_fmha", "on", "Nearest: enable"),
        ("log_level", "infos", "Nearest: info"),
        ("lora_dir", [], "a list of text"),
        ("lora_dir", [1], "a list of text"),
        ("checkpoint_dir", "--output_dir", "a path"),
        ("checkpoint_dir", "", "a path"),
        ("checkpoint_dir", "a\0b", "a path"),
        ("model_cls_name", {"a": 1}, "text"),
    ],
)
def test_wrong_values(name, value, word):
    with pytest.raises(BadInputError, match=f"--{name} is") as error:
        build_argv({"model_config": "/m", name: value})
    assert word in error.value.what and error.value.failure.code == "bad-flag-value"


def test_a_list_of_choices_that_is_not_complete_does_not_block():
    problems = check_flags({"lora_target_modules": ["attn_q", "moe_router"], "lora_plugin": "auto"})
    assert [(p.code, p.blocks) for p in problems] == [("unlisted-flag-value", False)]
    assert normal_flags({"lora_target_modules": ["moe_router"]}) == {"lora_target_modules": ("moe_router",)}


def test_equal_settings_come_out_equal():
    one = normal_flags({"max_decoder_seq_len": 10, "context_fmha": True, "fast_build": False})
    other = normal_flags({"--context_fmha": "enable", "--max_seq_len": 10})
    assert one == other and list(one) == list(other)


def test_a_flag_and_its_alias_disagree():
    with pytest.raises(BadInputError, match="given twice"):
        normal_flags({"max_seq_len": 10, "max_decoder_seq_len": 11})


def test_changed_flags_leave_out_what_is_the_default():
    assert changed_flags({"max_batch_size": 2048, "max_num_tokens": 4096, "context_fmha": True}) == {
        "max_num_tokens": 4096
    }


# --- names that are no flags ---


@pytest.mark.parametrize("gone", gone_flags(), ids=lambda gone: gone.name)
def test_every_gone_flag_is_answered(gone):
    assert find_flag(gone.name) is None
    problem = unknown_flag(f"--{gone.name}")
    assert problem.code == "gone-flag" and gone.what in problem.what and problem.fix == gone.today
    with pytest.raises(BadInputError) as error:
        build_argv({gone.name: 1})
    assert error.value.failure.code == "gone-flag"


def test_what_gone_flags_advise_exists():
    known = {f"{table}.{key}" for table, inner in Preset.model_fields.items() for key in _keys(inner.annotation)}
    for gone in gone_flags():
        for name in (gone.use or "").replace(",", " ").split(" "):
            if name.startswith("build.flags."):
                assert find_flag(name.removeprefix("build.flags.")), gone.name
            elif "." in name:
                assert name in known, gone.name


def _keys(kind) -> list[str]:
    return list(getattr(kind, "model_fields", {}))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("max_batchsize", "max_batch_size"),
        ("gemm-plugin", "gemm_plugin"),
        ("checkpoint", "checkpoint_dir"),
        ("--use_paged_context_fhma", "use_paged_context_fmha"),
        ("xyzzy", ""),
    ],
)
def test_unknown_flags_are_refused_with_the_nearest(name, nearest):
    problem = unknown_flag(name)
    assert problem.code == "unknown-flag" and problem.blocks
    assert (f"Nearest: {nearest}" in problem.what) == bool(nearest) and nearest in problem.fix


def test_settings_that_are_no_flags_are_told_so():
    assert unknown_flag("smooth_quant_gemm_plugin").code == "internal-flag"


# --- rules ---

BLOCKS, HINT = True, False


@pytest.mark.parametrize(
    ("given_flags", "capability", "precision", "more", "expected"),
    [
        # dependencies
        ({"user_buffer": True}, None, "fp8", {}, ("flag-needs-flag", BLOCKS)),
        ({"gemm_swiglu_plugin": "fp8", "use_fused_mlp": False}, (9, 0), "fp8", {}, ("flag-needs-flag", BLOCKS)),
        ({"model_cls_file": "/m.py"}, None, None, {}, ("flag-needs-flag", BLOCKS)),
        ({"lora_dir": ["/a"]}, None, None, {}, ("flag-needs-flag", HINT)),
        ({"lora_target_modules": ["attn_q"]}, None, None, {}, ("flag-needs-flag", HINT)),
        ({"use_paged_context_fmha": True, "context_fmha": False}, None, None, {}, ("flag-needs-flag", HINT)),
        ({"opt_num_tokens": 8, "multiple_profiles": True}, None, None, {}, ("flags-conflict", BLOCKS)),
        ({"gather_context_logits": True, "max_draft_len": 4}, None, None, {}, ("flags-conflict", BLOCKS)),
        ({"gather_all_token_logits": True, "max_draft_len": 4}, None, None, {}, ("flags-conflict", BLOCKS)),
        ({"build_config": "/b.json", "max_seq_len": 10}, None, None, {}, ("flags-conflict", BLOCKS)),
        ({"paged_kv_cache": False, "kv_cache_type": "paged"}, None, None, {}, ("flags-conflict", BLOCKS)),
        ({"gpt_attention_plugin": "disable"}, None, None, {}, ("flags-conflict", BLOCKS)),
        ({"speculative_decoding_mode": "eagle"}, None, None, {}, ("speculation-limit", BLOCKS)),
        (
            {"speculative_decoding_mode": "eagle", "max_batch_size": 8, "max_draft_len": 300},
            None,
            None,
            {},
            ("speculation-limit", BLOCKS),
        ),
        ({"streamingllm": True}, None, None, {}, ("flag-no-longer-works", BLOCKS)),
        ({"dry_run": True}, None, None, {}, ("no-engine", BLOCKS)),
        ({"log_level": "error"}, None, None, {}, ("log-too-quiet", BLOCKS)),
        # GPUs
        ({"gemm_swiglu_plugin": "fp8"}, (8, 9), "fp8", {}, ("flag-on-this-gpu", BLOCKS)),
        ({"gemm_swiglu_plugin": "fp8"}, (10, 0), "fp8", {}, ("flag-on-this-gpu", BLOCKS)),
        ({"fp8_rowwise_gemm_plugin": "auto"}, (10, 0), None, {}, ("flag-on-this-gpu", BLOCKS)),
        ({"low_latency_gemm_plugin": "fp8"}, (10, 0), "fp8", {}, ("flag-on-this-gpu", BLOCKS)),
        ({"low_latency_gemm_swiglu_plugin": "fp8"}, (10, 0), "fp8", {}, ("flag-on-this-gpu", BLOCKS)),
        ({"bert_context_fmha_fp32_acc": True}, (10, 0), None, {}, ("flag-on-this-gpu", BLOCKS)),
        ({"gemm_plugin": "fp8"}, (8, 6), None, {}, ("flag-on-this-gpu", BLOCKS)),
        ({"gemm_plugin": "nvfp4"}, (9, 0), None, {}, ("flag-on-this-gpu", BLOCKS)),
        ({"fuse_fp4_quant": True}, (9, 0), None, {}, ("flag-on-this-gpu", BLOCKS)),
        ({"use_fp8_context_fmha": True}, (8, 6), None, {}, ("flag-on-this-gpu", HINT)),
        ({}, (8, 6), "fp8", {}, ("not-supported", BLOCKS)),
        ({}, (9, 0), "nvfp4", {}, ("not-supported", BLOCKS)),
        ({}, (10, 0), "int4_awq", {}, ("not-supported", BLOCKS)),
        ({}, (10, 0), "int8_sq", {}, ("not-supported", BLOCKS)),
        ({}, (10, 0), "fp8_rowwise", {}, ("not-supported", BLOCKS)),
        ({}, (10, 0), "bf16", {"kv_cache": "int8"}, ("not-supported", BLOCKS)),
        (
            {"pp_reduce_scatter": True},
            None,
            None,
            {"architecture": "LlamaForCausalLM"},
            ("flag-for-other-model", BLOCKS),
        ),
        # what does nothing
        ({"max_batch_size": 64, "max_num_tokens": 32}, None, None, {}, ("batch-above-tokens", HINT)),
        ({"max_num_tokens": 20000}, None, None, {}, ("many-tokens", HINT)),
        (
            {"max_num_tokens": 8192, "max_batch_size": 2, "max_seq_len": 1024},
            None,
            None,
            {},
            ("tokens-above-use", HINT),
        ),
        ({"opt_num_tokens": 9000}, None, None, {}, ("tuned-above-limit", HINT)),
        ({"max_input_len": 20, "max_seq_len": 10}, None, None, {}, ("input-above-sequence", HINT)),
        ({"max_input_len": 20}, None, None, {}, ("input-limit-ignored", HINT)),
        ({"use_fp8_context_fmha": True}, (9, 0), "bf16", {}, ("flag-without-effect", HINT)),
        ({"use_fp8_context_fmha": True}, (9, 0), "fp8", {"kv_cache": "fp16"}, ("flag-without-effect", HINT)),
        ({"use_paged_context_fmha": True}, None, "bf16", {"kv_cache": "int8"}, ("flag-without-effect", HINT)),
        ({"use_paged_context_fmha": True}, None, "bf16", {"kv_cache": "fp8"}, ("flag-without-effect", HINT)),
        ({"reduce_fusion": True}, None, None, {}, ("flag-without-effect", HINT)),
        (
            {"reduce_fusion": True},
            None,
            None,
            {"tp": 2, "architecture": "Qwen2ForCausalLM"},
            ("flag-without-effect", HINT),
        ),
        ({"norm_quant_fusion": True}, None, "fp8", {}, ("flag-without-effect", HINT)),
        ({"use_fused_mlp": True}, None, "int4_awq", {}, ("flag-without-effect", HINT)),
        ({"paged_state": True}, None, None, {"architecture": "LlamaForCausalLM"}, ("flag-without-effect", HINT)),
        ({"nccl_plugin": "float16"}, None, None, {}, ("flag-without-effect", HINT)),
        ({"gemm_plugin": "fp8"}, None, "bf16", {}, ("flag-for-other-precision", HINT)),
        ({"gemm_plugin": "nvfp4"}, None, "fp8", {}, ("flag-for-other-precision", HINT)),
        ({"output_timing_cache": "model.cache"}, None, None, {}, ("relative-path", HINT)),
        ({"paged_kv_cache": True}, None, None, {}, ("deprecated-flag", HINT)),
        ({"gather_generation_logits": True}, None, None, {}, ("deprecated-flag", HINT)),
        ({"fast_build": True}, None, "int4", {}, ("fast-build-precision", HINT)),
        ({"workers": 4}, None, None, {"tp": 2}, ("workers-without-use", HINT)),
        ({"workers": 4}, None, None, {"tp": 4, "gpus": 2}, ("workers-without-use", HINT)),
    ],
)
def test_each_rule(given_flags, capability, precision, more, expected):
    assert codes(given_flags, capability, precision, **more) == [expected]


@pytest.mark.parametrize(
    ("given_flags", "capability", "precision", "more"),
    [
        ({}, None, None, {}),
        ({"gemm_plugin": "auto", "max_batch_size": 64, "max_num_tokens": 8192}, (8, 0), "fp16", {}),
        ({"gemm_swiglu_plugin": "fp8"}, (9, 0), "fp8", {}),
        ({"gemm_plugin": "disable", "low_latency_gemm_plugin": "disable"}, (10, 0), "nvfp4", {}),
        ({"user_buffer": True, "reduce_fusion": True}, (9, 0), "fp8", {"tp": 2, "architecture": "LlamaForCausalLM"}),
        ({"use_fp8_context_fmha": True}, (9, 0), "fp8", {"kv_cache": "fp8"}),
        ({"use_fp8_context_fmha": True, "use_paged_context_fmha": False}, (9, 0), "fp8", {"kv_cache": "fp16"}),
        ({"gpt_attention_plugin": "disable", "kv_cache_type": "continuous"}, None, None, {}),
        ({"speculative_decoding_mode": "eagle", "max_batch_size": 512, "max_draft_len": 256}, None, None, {}),
        ({"lora_dir": ["/a"], "lora_plugin": "auto", "max_lora_rank": 8}, None, None, {}),
        ({"pp_reduce_scatter": True}, None, None, {"architecture": "MixtralForCausalLM"}),
        ({"workers": 2}, None, None, {"tp": 2, "gpus": 2}),
        ({"output_timing_cache": "/t/model.cache"}, None, None, {}),
        ({"max_input_len": 20, "remove_input_padding": False}, None, None, {}),
    ],
)
def test_what_is_right_is_left_alone(given_flags, capability, precision, more):
    assert codes(given_flags, capability, precision, **more) == []


def test_problems_are_failures_and_those_that_block_come_first():
    problems = check_flags({"max_input_len": 5, "streamingllm": True, "nope": 1}, (8, 6), "nvfp4")
    assert all(isinstance(problem, Failure) and problem.what and problem.evidence for problem in problems)
    assert [problem.blocks for problem in problems] == [True, True, True, False]
    assert {problem.exit_code for problem in problems} == {2, 3}


# --- presets ---


def test_limits_become_flags():
    asked = preset(limits={"max_batch_size": 8, "max_seq_len": 4096, "max_num_tokens": 2048})
    assert settings_from_preset(asked) == {
        "max_batch_size": 8,
        "max_seq_len": 4096,
        "max_num_tokens": 2048,
        "max_beam_width": 1,
    }


def test_precisions_and_sizes_are_the_checkpoints_and_no_flags():
    made = settings_from_preset(preset("fp8", "fp8", tp=2, pp=2))
    assert made == {"max_batch_size": 16, "max_beam_width": 1, "workers": 4, "use_fp8_context_fmha": "enable"}


@pytest.mark.parametrize("weights", ["bf16", "fp8", "int4_awq"])
def test_what_turns_itself_off_is_said(weights):
    made = settings_from_preset(preset(weights, "int8"))
    assert made["use_paged_context_fmha"] == made["use_fp8_context_fmha"] == "disable"


def test_build_flags_have_the_last_word():
    made = settings_from_preset(preset("nvfp4", tp=4, flags={"workers": 1, "gemm_plugin": "disable"}))
    assert made["workers"] == 1 and made["gemm_plugin"] == "disable"
    assert settings_from_preset(preset("nvfp4"))["gemm_plugin"] == "nvfp4"


@pytest.mark.parametrize("weights", ["fp16", "bf16", "fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4"])
@pytest.mark.parametrize("kv", ["auto", "fp16", "fp8", "int8"])
def test_what_a_preset_asks_for_by_itself_has_no_hint(weights, kv):
    asked = preset(weights, kv, tp=2)
    assert codes(settings_from_preset(asked), None, weights, kv_cache=kv, tp=2) == []


@pytest.mark.parametrize(
    ("build_flags", "word"),
    [
        ({"max_batch_size": 4}, "limits.max_batch_size"),
        ({"checkpoint_dir": "/c"}, "not the preset's to set"),
        ({"output_timing_cache": "/c"}, "keeps timings"),
        ({"tp_size": 2}, "parallel.tp"),
        ({"gemm_plugins": "auto"}, "gemm_plugin"),
        ({"gemm_plugin": "fast"}, "must be one of"),
    ],
)
def test_flags_that_a_preset_may_not_set(build_flags, word):
    with pytest.raises(BadInputError) as error:
        settings_from_preset(preset(flags=build_flags))
    assert word in str(error.value)


# --- any settings ---

_names = st.one_of(
    st.text(max_size=30), st.sampled_from([f.name for f in flag_table()] + [g.name for g in gone_flags()])
)
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**6),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["enable", "disable", "auto", "fp8", "nvfp4", "float16", "/a/b"]),
    st.lists(st.text(max_size=9), max_size=3),
)


def _real_parser() -> argparse.ArgumentParser:
    """A parser as trtllm-build's own, made from the data that was read from its source."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for entry in DATA["flags"]:
        names = [f"--{name}" for name in (entry["name"], *entry.get("aliases", []))]
        if entry["type"] == "switch":
            parser.add_argument(*names, action="store_true")
            continue
        kind = int if entry["type"] == "integer" else str
        choices = None if entry.get("choices_open") else entry["choices"] or None
        more = {"nargs": "+"} if entry["type"] == "texts" else {}
        parser.add_argument(*names, type=kind, choices=choices, **more)
    return parser


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_names, _values, max_size=6))
def test_settings_are_refused_in_words_or_make_an_argv_that_the_real_parser_takes(chosen):
    check_flags(chosen, (9, 0), "fp8")
    try:
        argv = build_argv({"model_config": "/m.json", **chosen})
    except BadInputError as error:
        assert error.what
        return
    taken = vars(_real_parser().parse_args(list(argv[1:])))
    for name, value in normal_flags({"model_config": "/m.json", **chosen}).items():
        assert taken[name] == (list(value) if isinstance(value, tuple) else value)
