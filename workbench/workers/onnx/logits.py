"""Logits of an ONNX folder by ONNX Runtime, token pieces fed on a KV cache that stays inside the runtime."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.workers.common import explain_import, first_line, read_json
from workbench.workers.onnx.common import FACTS_FILE, MODEL_FILE, check_folder, load_cuda
from workbench.workers.onnx.nvfp4_cpu import has_fp4, stand_in
from workbench.workers.onnx.widen import BF16, FP16, Wide, holds, widen
from workbench.workers.protocol import WorkerError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_MISSING = (
    re.compile(r"(?P<op>[\w.:]+)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (?P<op>[\w.:]+)\(\d+\) node with name '(?P<node>[^']*)'"),
    re.compile(r"No Op registered for (?P<op>[\w.:]+) with domain_version"),
)
_NUMPY = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


class OnnxLogits:
    """A loaded ONNX folder with its KV cache: `begin()` empties it, `feed(ids)` gives logits.

    `device` is "cpu" or "cuda"; BF16 is run on the CPU in any case, for numpy has no BF16 to feed. `float32`: what is
    FP16 computes in FP32 too. Weights that ONNX Runtime's CPU kernels cannot compute with are made others in memory:
    BF16 becomes FP32, NVFP4 what its graph dequantizes it to, and activations are rounded to NVFP4 by ordinary
    operators. That loses nothing; `settings["remark"]` says so. Memory: the weights as ONNX Runtime keeps them, and
    those that are made others a second time while it loads.
    Raises WorkerError: `bad-onnx`, `missing-onnx-data`, `engine-load-failed` in ONNX Runtime's words, with the node
    of an operator that it does not have, `import-failed`.
    """

    def __init__(
        self, folder: Path, device: str = "cpu", num_threads: int | None = None, float32: bool = False
    ) -> None:
        try:
            import onnxruntime
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error
        if device not in PROVIDERS or PROVIDERS[device] not in onnxruntime.get_available_providers():
            raise WorkerError(
                f"ONNX Runtime cannot run on {device} here",
                code="engine-load-failed",
                cause=f"it has {', '.join(onnxruntime.get_available_providers())}",
                hint="Use the device cpu, or install the package of ONNX Runtime that has this one.",
            )
        facts = read_json(folder / FACTS_FILE) if (folder / FACTS_FILE).is_file() else {}
        if facts.get("compute") == "bf16":
            device = "cpu"
        if device == "cuda":
            load_cuda()
        # An environment that only runs models may lack the package onnx: ONNX Runtime then has to find what is wrong.
        graph = check_folder(folder) if importlib.util.find_spec("onnx") else None
        length = facts.get("max_seq_len")
        self.max_seq_len: int | None = length if isinstance(length, int) else None
        self.settings = {"device": device, "compute_precision": str(facts.get("compute") or "fp32")}
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if num_threads:
            options.intra_op_num_threads = num_threads
            self.settings["threads"] = str(num_threads)
        model: str | bytes = str(folder / MODEL_FILE)
        wide = _for_cpu(graph, folder, float32) if device == "cpu" and graph is not None else None
        if wide is not None:
            self.settings |= {"compute_precision": wide.compute or self.settings["compute_precision"]}
            self.settings |= {"remark": wide.remark}
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in wide.arrays.values()]
            options.add_external_initializers(list(wide.arrays), values)
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
            model = wide.graph
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[PROVIDERS[device]])
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime's own classes have no base of their own
            raise load_error(error, graph) from error
        if PROVIDERS[device] not in self._session.get_providers():
            # ONNX Runtime goes on with the CPU when a GPU's libraries cannot be loaded.
            raise WorkerError(
                f"ONNX Runtime could not use {device} here",
                code="engine-load-failed",
                cause=f"it took {', '.join(self._session.get_providers())}; a library of CUDA or cuDNN is missing, or "
                "no GPU is free",
                hint="Use the device cpu, or see the Doctor page about the driver.",
            )
        self._ort = onnxruntime
        self._device = device
        self._inputs = {given.name: given for given in self._session.get_inputs()}
        self._outputs = [output.name for output in self._session.get_outputs()]
        width = next((output.shape[-1] for output in self._session.get_outputs() if output.name == "logits"), None)
        self.vocabulary: int | None = width if isinstance(width, int) else None
        self._past_names = [name for name in self._inputs if name.startswith("past_key_values.")]
        known = {"input_ids", "attention_mask", "position_ids", *self._past_names}
        strange = sorted(set(self._inputs) - known)
        if strange or "logits" not in self._outputs or "input_ids" not in self._inputs:
            raise WorkerError(
                "the ONNX model is not a decoder with a KV cache as the workbench makes them",
                code="engine-load-failed",
                cause=f"inputs: {', '.join(self._inputs)[:300]}",
                hint="Make the folder with the convert step.",
            )
        self._past: dict[str, Any] = {}
        self._tokens = 0
        self.begin()

    def begin(self) -> None:
        """Empty the KV cache."""
        import numpy as np

        self._tokens = 0
        self._past = {}
        for name in self._past_names:
            given = self._inputs[name]
            shape = [size if isinstance(size, int) else 0 if "past" in size else 1 for size in given.shape]
            empty = np.zeros(shape, dtype=_NUMPY[given.type])
            self._past[name] = self._ort.OrtValue.ortvalue_from_numpy(empty, self._device)

    def feed(self, ids: Sequence[int]) -> Any:
        """Logits after each of `ids`, which follow what was fed before: float32, (len(ids), vocabulary).

        Raises WorkerError `engine-run-failed`.
        """
        import numpy as np

        length = self._tokens + len(ids)
        given = {
            "input_ids": np.asarray([ids], dtype=np.int64),
            "attention_mask": np.ones((1, length), dtype=np.int64),
            "position_ids": np.arange(self._tokens, length, dtype=np.int64)[None, :],
        }
        binding = self._session.io_binding()
        for name, array in given.items():
            if name in self._inputs:
                binding.bind_cpu_input(name, array)
        for name, value in self._past.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu" if name == "logits" else self._device)
        try:
            self._session.run_with_iobinding(binding)
        except MemoryError:
            raise
        except Exception as error:
            raise WorkerError(
                "ONNX Runtime stopped while it ran the model",
                code="engine-run-failed",
                cause=first_line(error),
                hint="The job's log has the full text; see whether the folder was made for this version.",
            ) from error
        found = dict(zip(self._outputs, binding.get_outputs(), strict=True))
        self._past = {name: found[name.replace("past_key_values.", "present.", 1)] for name in self._past_names}
        self._tokens = length
        return np.asarray(found["logits"].numpy()[0], dtype=np.float32)


def _for_cpu(graph: Any, folder: Path, float32: bool) -> Wide | None:
    """The graph without the types that ONNX Runtime has no CPU kernels for; None where it has none of them."""
    if has_fp4(graph):
        return stand_in(graph, folder)
    kinds = (BF16, FP16) if float32 else (BF16,)
    return widen(graph, folder, kinds) if holds(graph, kinds) else None


def load_error(error: Exception, graph: Any) -> WorkerError:
    """Words for a session that ONNX Runtime would not make; names the operator that it lacks, and its node."""
    text = first_line(error)
    for pattern in _MISSING:
        match = pattern.search(str(error))
        if match is None:
            continue
        operator = match["op"]
        node = match.groupdict().get("node") or _node_of(graph, operator)
        return WorkerError(
            f"ONNX Runtime has no operator {operator}",
            code="engine-load-failed",
            cause=f"{f'node {node}: ' if node else ''}{text}",
            hint="The model was made for another runtime or needs a plugin; use a precision that runs here.",
        )
    return WorkerError(
        "ONNX Runtime cannot load the model",
        code="engine-load-failed",
        cause=text,
        hint="Run the step that makes the folder again; the job's log has the full text.",
    )


def _node_of(graph: Any, operator: str) -> str:
    """Name of the first node with this operator, else what it makes; empty where none has it."""
    domain, _, kind = operator.rpartition(":")
    for node in graph.graph.node if graph is not None else ():
        if node.op_type == kind and domain in ("", node.domain):
            return str(node.name or (node.output[0] if node.output else ""))
    return ""
