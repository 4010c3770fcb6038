"""`triton_python_backend_utils` as Python models see it. What the documentation does not allow is refused."""

from __future__ import annotations

import queue
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
ALLOWED = {np.dtype(kind) for kind in ("bool", "uint8", "uint64", "int32", "int64", "float16", "float32")}

Run = Callable[["InferenceRequest", Callable[["InferenceResponse"], None], Callable[[], bool]], None]
"""Runs a request of a model inside another one: sends its responses and returns after the last."""


class TritonModelException(Exception):
    pass


class Logger:
    """Of the server's log; a model that warns is seen by pytest."""

    @staticmethod
    def log_warn(message: str) -> None:
        warnings.warn(message, stacklevel=2)


class Tensor:
    def __init__(self, name: str, value: np.ndarray) -> None:
        assert isinstance(name, str) and isinstance(value, np.ndarray), (name, type(value))
        if value.dtype == object:
            assert all(isinstance(one, bytes) for one in value.reshape(-1)), f"{name}: strings are bytes"
        else:
            assert value.dtype in ALLOWED, f"{name}: {value.dtype}"
        self._name, self._value = name, value

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._value


class TritonError:
    def __init__(self, message: str) -> None:
        assert isinstance(message, str) and message
        self._message = message

    def message(self) -> str:
        return self._message


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        assert all(isinstance(tensor, Tensor) for tensor in output_tensors)
        names = [tensor.name() for tensor in output_tensors]
        assert len(set(names)) == len(names), f"twice in one response: {names}"
        self._tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class ResponseSender:
    """Of one decoupled request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._ended = False
        self._lock = threading.Lock()

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        with self._lock:
            assert not self._ended, "a response after the last one"
            assert response is not None or flags == TRITONSERVER_RESPONSE_COMPLETE_FINAL, (
                "neither a response nor an end"
            )
            self._ended = flags == TRITONSERVER_RESPONSE_COMPLETE_FINAL
        if response is not None:
            self._request.sink(response)
        if self._ended:
            self._request.done.set()

    def is_cancelled(self) -> bool:
        return self._request.cancelled()


class Request:
    """A request as a model gets it."""

    def __init__(
        self,
        tensors: dict[str, np.ndarray],
        wanted: Sequence[str],
        number: str,
        sink: Callable[[InferenceResponse], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self.tensors = {name: Tensor(name, value) for name, value in tensors.items()}
        self.sink, self.cancelled = sink, cancelled
        self.done = threading.Event()
        self._wanted, self._number = list(wanted), number

    def request_id(self) -> str:
        return self._number

    def requested_output_names(self) -> list[str]:
        return self._wanted

    def get_response_sender(self) -> ResponseSender:
        return ResponseSender(self)

    def is_cancelled(self) -> bool:
        return self.cancelled()


def get_input_tensor_by_name(request: Request, name: str) -> Tensor | None:
    assert isinstance(request, Request)
    return request.tensors.get(name)


class InferenceRequest:
    """A request that a model makes to another one."""

    run: Run

    def __init__(
        self,
        model_name: str,
        inputs: Sequence[Tensor],
        requested_output_names: Sequence[str],
        request_id: str = "",
    ) -> None:
        assert all(isinstance(tensor, Tensor) for tensor in inputs) and requested_output_names
        self.model_name, self.request_id = model_name, request_id
        self.inputs = {tensor.name(): tensor.as_numpy() for tensor in inputs}
        assert len(self.inputs) == len(inputs), "an input twice"
        self.wanted = list(requested_output_names)

    def exec(self, decoupled: bool = False) -> Any:
        found: queue.SimpleQueue[InferenceResponse | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                self.run(self, found.put, lambda: False)
            except Exception as error:
                found.put(InferenceResponse(error=TritonError(str(error) or type(error).__name__)))
            found.put(None)

        thread = threading.Thread(target=work, name=f"exec {self.model_name}")
        thread.start()
        if decoupled:
            return self._responses(found, thread)
        responses = list(self._responses(found, thread))
        assert len(responses) == 1, f"{self.model_name} gave {len(responses)} responses to one that wants 1"
        return responses[0]

    @staticmethod
    def _responses(
        found: queue.SimpleQueue[InferenceResponse | None], thread: threading.Thread
    ) -> Iterator[InferenceResponse]:
        while (response := found.get()) is not None:
            yield response
        thread.join()


def install(run: Run) -> types.ModuleType:
    """Put the module where `import triton_python_backend_utils` finds it; requests inside models go to `run`."""
    module = types.ModuleType("triton_python_backend_utils")
    for name in (
        "Logger",
        "Tensor",
        "TritonError",
        "TritonModelException",
        "InferenceResponse",
        "get_input_tensor_by_name",
    ):
        setattr(module, name, globals()[name])
    module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = TRITONSERVER_RESPONSE_COMPLETE_FINAL  # type: ignore[attr-defined]

    class Bound(InferenceRequest):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.run = run

    module.InferenceRequest = Bound  # type: ignore[attr-defined]
    sys.modules["triton_python_backend_utils"] = module
    return module
