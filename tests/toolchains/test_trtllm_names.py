"""No flag and no name of TensorRT-LLM is invented: all that the workbench uses stands in the facts that were read."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench
from workbench.core.precision import Precision
from workbench.core.preset import list_presets
from workbench.core.trtllm.load_log import _LIMITS as LOAD_LIMITS
from workbench.toolchains.tensorrt_llm.flags import OWN_FLAGS, find_flag, flag_table, gone_flags, settings_from_preset

PACKAGE = Path(workbench.__file__).parent
HERE = PACKAGE / "toolchains" / "tensorrt_llm"
API = json.loads((HERE / "api_names.json").read_text("utf-8"))
SOURCES = sorted([*PACKAGE.glob("workers/**/*.py"), *HERE.glob("*.py"), *PACKAGE.glob("core/trtllm/*.py")])
ENGINE_SOURCES = [path for path in SOURCES if "tensorrt_llm" in path.read_text("utf-8")]


def _tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of all that is imported from tensorrt_llm; name "" for a module alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tensorrt_llm":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "tensorrt_llm")
        elif isinstance(node, ast.Call) and _called(node) == "import_module":
            for part in node.args[:1]:
                if isinstance(part, ast.Constant) and str(part.value).split(".")[0] == "tensorrt_llm":
                    yield str(part.value), ""


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _unknown_imports(tree: ast.AST) -> list[str]:
    found = []
    for module, name in _imports(tree):
        names = API["modules"].get(module)
        if names is None or (name and not any(fnmatch.fnmatch(name, known) for known in names)):
            found.append(f"{module}: {name}")
    return found


def _unknown_arguments(tree: ast.AST) -> list[str]:
    """Keyword arguments of calls to what was imported from tensorrt_llm, and of its objects' methods."""
    imported = {name for _, name in _imports(tree)}
    methods = {"generate_async", "from_hugging_face", "save_checkpoint", "get_stats", "get_stats_async"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in API["calls"] and _called(node) in imported | methods:
            known = API["calls"][_called(node)]
            found += [f"{_called(node)}({k.arg}=)" for k in node.keywords if k.arg and k.arg not in known]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_imports_and_arguments_are_known(path):
    tree = _tree(path)
    assert _unknown_imports(tree) == []
    assert _unknown_arguments(tree) == []


def test_the_scan_finds_what_is_invented():
    tree = ast.parse(
        "from tensorrt_llm._tensorrt_engine import LLM, Engine\nimport tensorrt_llm.magic\n"
        "LLM(model=1, cuda_graph_config=2)\n"
    )
    assert _unknown_imports(tree) == ["tensorrt_llm._tensorrt_engine: Engine", "tensorrt_llm.magic: "]
    assert _unknown_arguments(tree) == ["LLM(cuda_graph_config=)"]


@pytest.mark.parametrize("path", ENGINE_SOURCES, ids=lambda path: path.name)
def test_flags_in_the_sources_are_flags(path):
    known = {flag.name for flag in flag_table()} | {gone.name for gone in gone_flags()}
    known |= {name for names in API["other_flags"].values() for name in names}
    # Other programs (docker, nvidia-smi) write their flags with hyphens.
    used = {
        name
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"(?<![\w-])--([a-z]\w*_\w+)", node.value)
    }
    assert used <= known


def test_console_scripts_in_the_sources_exist():
    used = {name for path in ENGINE_SOURCES for name in re.findall(r"\btrtllm-[a-z-]*[a-z]\b", path.read_text("utf-8"))}
    presets = {preset.id for preset in list_presets().presets}
    assert used - presets <= set(API["console_scripts"])


def test_flags_of_the_gallery_are_flags():
    for preset in list_presets().presets:
        if preset.toolchain == "tensorrt_llm":
            settings_from_preset(preset)


def test_names_that_the_flags_module_uses_are_flags():
    assert all(find_flag(name) for name in OWN_FLAGS)


def test_limits_of_the_runtime_are_limits_of_the_build():
    assert {name for name in LOAD_LIMITS.values() if find_flag(name) is None} == {"max_num_sequences"}


def test_precisions_have_an_algorithm_of_tensorrt_llm():
    algorithms = API["quant_algo_of_precision"]
    assert set(algorithms) == {precision.value for precision in Precision if precision.is_quantized}
    assert set(algorithms.values()) <= set(API["choices"]["quant_algo"])


def test_build_settings_of_an_engine_agree_with_the_flags():
    build_only = {"opt_batch_size", "strongly_typed", "force_num_profiles", "use_refit", "plugin_config", "lora_config"}
    renamed = {"use_strip_plan", "use_mrope"}
    unknown = {name for name in API["fields"]["build_config"] if find_flag(name) is None}
    assert unknown == build_only | renamed
