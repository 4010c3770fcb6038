"""A model repository, loaded: every request and response is held against the configs that Triton's schema parsed."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from tests.fakes.triton.backend_utils import InferenceRequest, InferenceResponse, Request, Tensor, install

NUMPY: dict[str, Any] = {
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_STRING": np.object_,
}
Sink = Callable[[InferenceResponse], None]
Cancelled = Callable[[], bool]


class TritonRefusedError(Exception):
    """What Triton answers with an error."""


@dataclass
class Engine:
    """Stands in for the C++ backend: continues any prompt with `says`, over and over, and counts what it was asked."""

    says: Sequence[int]
    token_s: float = 0.0
    asked: list[dict[str, np.ndarray]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    made: int = 0
    _stops: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, request: InferenceRequest, sink: Sink, decoupled: bool) -> None:
        given = request.inputs
        if _flag(given, "stop"):
            assert request.request_id, "a request without an id cannot be stopped"
            self.stopped.append(request.request_id)
            self._stops.add(request.request_id)
            sink(InferenceResponse())
            return
        with self._lock:
            self.asked.append(given)
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        try:
            self._generate(request, sink, decoupled)
        finally:
            with self._lock:
                self.active -= 1

    def _generate(self, request: InferenceRequest, sink: Sink, decoupled: bool) -> None:
        given = request.inputs
        prompt = given["input_ids"].reshape(-1).tolist()
        assert len(prompt) == int(given["input_lengths"].reshape(-1)[0])
        most = int(given["request_output_len"].reshape(-1)[0])
        end = int(given["end_id"].reshape(-1)[0]) if "end_id" in given else -1
        beams = int(given["beam_width"].reshape(-1)[0]) if "beam_width" in given else 1
        streams = _flag(given, "streaming")
        assert decoupled or not streams, "streaming wants a decoupled model"
        draft = given["draft_input_ids"].reshape(-1).tolist() if "draft_input_ids" in given else None
        ids = self._answer(prompt, most, end, draft)
        pieces = [[token] for token in ids] if streams else [ids]
        for piece in pieces:
            for _ in piece if self.token_s else ():
                if request.request_id not in self._stops:
                    time.sleep(self.token_s)
            if request.request_id in self._stops:
                break
            self.made += len(piece)
            sink(InferenceResponse(self._tensors(request, piece, beams)))

    def _answer(self, prompt: list[int], most: int, end: int, draft: list[int] | None) -> list[int]:
        """The next ones by position, so that a prompt that was continued goes on where it stood."""
        at = _continued(prompt, self.says)
        wanted = [self.says[(at + step) % len(self.says)] for step in range(most)]
        if draft is not None:
            agreed = 0
            while agreed < len(draft) and agreed < len(wanted) and draft[agreed] == wanted[agreed]:
                agreed += 1
            wanted = wanted[: agreed + 1]
        return wanted[: wanted.index(end)] if end in wanted else wanted

    def _tensors(self, request: InferenceRequest, ids: list[int], beams: int) -> list[Tensor]:
        given = request.inputs
        found = {
            "output_ids": np.array([[ids] * beams], dtype=np.int32).reshape(1, beams, len(ids)),
            "sequence_length": np.full((1, beams), len(ids), dtype=np.int32),
            "batch_index": np.zeros((1, 1), dtype=np.int32),
            "sequence_index": np.zeros((1, 1), dtype=np.int32),
        }
        if _flag(given, "return_num_output_tokens"):
            found["num_output_tokens"] = np.array([[len(ids)]], dtype=np.int32)
        if _flag(given, "return_num_input_tokens"):
            found["num_input_tokens"] = given["input_lengths"].reshape(1, 1)
        return [Tensor(name, value) for name, value in found.items() if name in request.wanted]


def _flag(given: dict[str, np.ndarray], name: str) -> bool:
    return name in given and bool(given[name].reshape(-1)[0])


def _continued(prompt: list[int], says: Sequence[int]) -> int:
    for length in range(min(len(says), len(prompt)), 0, -1):
        if prompt[-length:] == list(says[:length]):
            return length
    return 0


class Repository:
    """The models of a folder. `root`: what stands for /triton inside it."""

    def __init__(self, folder: Path, root: Path, engines: dict[str, Engine]) -> None:
        self.configs: dict[str, Any] = {}
        self.engines = engines
        self._python: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        install(self._inside)
        for path in sorted(folder.iterdir()):
            text = (path / "config.pbtxt").read_text("utf-8").replace('"/triton/', f'"{root}/')
            config = text_format.Parse(text, model_config_pb2.ModelConfig())
            assert config.name == path.name, f"{path.name} calls itself {config.name}"
            assert (path / "1").is_dir(), f"{path.name} has no version"
            self.configs[config.name] = config
            if config.backend == "python":
                self._python[config.name] = _load(config, path / "1" / "model.py", root)
            elif config.backend == "tensorrtllm":
                engine = Path(config.parameters["gpt_model_path"].string_value)
                assert (engine / "config.json").is_file(), f"no engine at {engine}"
                assert self.engines[config.name]

    def close(self) -> None:
        for model in self._python.values():
            if hasattr(model, "finalize"):
                model.finalize()
        sys.modules.pop("triton_python_backend_utils", None)

    def python(self, name: str) -> Any:
        """The TritonPythonModel of a model, to be run without Triton's checks."""
        return self._python[name]

    def metadata(self, name: str) -> dict[str, Any]:
        config = self._config(name)
        sides = {
            side: [
                {"name": one.name, "datatype": _type_name(one), "shape": list(one.dims)}
                for one in getattr(config, side)
            ]
            for side in ("input", "output")
        }
        return {
            "name": name,
            "versions": ["1"],
            "platform": config.platform or config.backend,
            "inputs": sides["input"],
            "outputs": sides["output"],
        }

    def config_json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            json_format.MessageToJson(self._config(name), preserving_proto_field_name=True)
        )
        return found

    def _config(self, name: str) -> Any:
        if name not in self.configs:
            raise TritonRefusedError(f"Request for unknown model: '{name}' is not found")
        return self.configs[name]

    def run(
        self,
        name: str,
        inputs: dict[str, np.ndarray],
        sink: Sink,
        *,
        wanted: Sequence[str] = (),
        number: str = "",
        cancelled: Cancelled = lambda: False,
    ) -> None:
        """One request; returns after its last response. Raises TritonRefusedError."""
        config = self._config(name)
        self._check_inputs(config, inputs)
        self.counts[name] = self.counts.get(name, 0) + 1
        decoupled = config.model_transaction_policy.decoupled or config.platform == "ensemble"
        wanted = list(wanted) or [one.name for one in config.output]
        unknown = set(wanted) - {one.name for one in config.output}
        assert not unknown, f"{name} has no outputs {sorted(unknown)}"
        sent = 0

        def checked(response: InferenceResponse) -> None:
            nonlocal sent
            sent += 1
            assert decoupled or sent == 1, f"{name} is not decoupled and sends a second response"
            self._check_outputs(config, response)
            sink(response)

        if config.platform == "ensemble":
            self._ensemble(config, dict(inputs), checked, number)
        elif config.backend == "tensorrtllm":
            asked = InferenceRequest(name, [Tensor(key, value) for key, value in inputs.items()], wanted, number)
            self.engines[name].run(asked, checked, bool(config.model_transaction_policy.decoupled))
        else:
            self._run_python(name, inputs, wanted, number, checked, cancelled)

    def _run_python(
        self,
        name: str,
        inputs: dict[str, np.ndarray],
        wanted: Sequence[str],
        number: str,
        sink: Sink,
        cancelled: Cancelled,
    ) -> None:
        request = Request(inputs, wanted, number, sink, cancelled)
        responses = self._python[name].execute([request])
        if self.configs[name].model_transaction_policy.decoupled:
            assert responses is None, "a decoupled model answers by its sender"
            assert request.done.wait(30), f"{name} never sent its last response"
        else:
            assert isinstance(responses, list) and len(responses) == 1
            sink(responses[0])

    def _inside(self, request: InferenceRequest, sink: Sink, cancelled: Cancelled) -> None:
        self.run(
            request.model_name,
            request.inputs,
            sink,
            wanted=request.wanted,
            number=request.request_id,
            cancelled=cancelled,
        )

    def _ensemble(self, config: Any, tensors: dict[str, np.ndarray], sink: Sink, number: str) -> None:
        """Steps one after the other; each response of a decoupled one runs what follows."""
        outputs = {one.name for one in config.output}

        def go(at: int, tensors: dict[str, np.ndarray]) -> None:
            steps = config.ensemble_scheduling.step
            if at == len(steps):
                sink(InferenceResponse([Tensor(name, tensors[name]) for name in tensors if name in outputs]))
                return
            step = steps[at]
            optional = {one.name for one in self.configs[step.model_name].input if one.optional}
            inputs = {}
            for key, value in step.input_map.items():
                if value in tensors:
                    inputs[key] = tensors[value]
                elif key not in optional:
                    raise TritonRefusedError(f"in ensemble '{config.name}': {value} is not there for {key}")

            def got(response: InferenceResponse) -> None:
                if response.has_error():
                    sink(response)
                elif response.output_tensors():
                    made = {one.name(): one.as_numpy() for one in response.output_tensors()}
                    named = {step.output_map[key]: value for key, value in made.items() if key in step.output_map}
                    go(at + 1, tensors | named)

            self.run(step.model_name, inputs, got, wanted=list(step.output_map), number=number)

        go(0, {name: value for name, value in tensors.items()})

    @staticmethod
    def _check_inputs(config: Any, inputs: dict[str, np.ndarray]) -> None:
        known = {one.name: one for one in config.input}
        for name, value in inputs.items():
            if name not in known:
                raise TritonRefusedError(f"unexpected inference input '{name}' for model '{config.name}'")
            _check_tensor(config, known[name], value)
        missing = [one.name for one in config.input if not one.optional and one.name not in inputs]
        if missing:
            raise TritonRefusedError(f"expected inputs {missing} for model '{config.name}'")

    @staticmethod
    def _check_outputs(config: Any, response: InferenceResponse) -> None:
        known = {one.name: one for one in config.output}
        for tensor in response.output_tensors():
            assert tensor.name() in known, f"{config.name} made {tensor.name()}, which is no output of it"
            _check_tensor(config, known[tensor.name()], tensor.as_numpy())


def _check_tensor(config: Any, known: Any, value: np.ndarray) -> None:
    wanted = NUMPY[_type(known)]
    if value.dtype != np.dtype(wanted):
        raise TritonRefusedError(f"{known.name} of {config.name} is {value.dtype}, wanted {np.dtype(wanted)}")
    dims = list(known.dims)
    shape = list(value.shape)
    if config.max_batch_size > 0:
        if not shape or not 1 <= shape[0] <= config.max_batch_size:
            raise TritonRefusedError(f"{known.name}: batch of shape {shape}, at most {config.max_batch_size}")
        shape = shape[1:]
    if len(shape) != len(dims) or any(want not in (-1, size) for want, size in zip(dims, shape, strict=True)):
        raise TritonRefusedError(f"{known.name} of {config.name} has shape {list(value.shape)}, wanted {dims}")


def _type(one: Any) -> str:
    return str(model_config_pb2.DataType.Name(one.data_type))


def _type_name(one: Any) -> str:
    name = _type(one).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def _load(config: Any, path: Path, root: Path) -> Any:
    """A Python model, its folder first on the path while it is loaded, as in the process that Triton gives it."""
    spec = importlib.util.spec_from_file_location(f"triton_model_{config.name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.modules.pop("triton_text", None)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
        sys.modules.pop("triton_text", None)
    model = module.TritonPythonModel()
    told = json_format.MessageToJson(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    model.initialize({"model_config": told, "model_name": config.name, "model_version": "1"})
    return model
