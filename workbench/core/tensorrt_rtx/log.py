"""The builder's log: lines as TensorRT prints them, and what they tell of memory, layers and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from workbench.core.tensorrt_rtx.layers import LayerReader

LETTERS = {"INTERNAL_ERROR": "F", "ERROR": "E", "WARNING": "W", "INFO": "I", "VERBOSE": "V"}
"""Letter by the name of ILogger's severity."""
_MAX_LINE = 4000
_KEPT_ERRORS = 50

_PARSED = "Parsing node: "
_WEIGHTS = re.compile(r"^Total Weights Memory: (\d{1,18}) bytes")
_ACTIVATIONS = re.compile(r"^Total Activation Memory: (\d{1,18}) bytes")
_PEAK = re.compile(r"Peak memory usage of TRT CPU/GPU memory allocators: CPU (\d{1,12}) MiB, GPU (\d{1,12}) MiB")
_NO_DRIVER = re.compile(r"catchCudaError.*cudaError 35\b")
"""Said when objects are taken down where there is no driver; it means nothing."""
_MIB = 2**20


def format_lines(severity: str, text: str, now: datetime) -> Iterator[str]:
    """A message as TensorRT's own logger prints it, so that all readers of logs know its severity."""
    head = f"[{now:%m/%d/%Y-%H:%M:%S}] [TRT] [{LETTERS.get(severity, 'I')}] "
    for line in text.splitlines():
        if line.strip():
            yield head + line.rstrip()[:_MAX_LINE]


class BuilderLog:
    """Takes each message of the builder. Verbose ones are read and not shown: 100,000 lines for a small model."""

    def __init__(self) -> None:
        self.reader = LayerReader()
        self.errors: list[str] = []
        """The first lines of error severity."""
        self.warnings = 0
        self.nodes_parsed = 0
        self.weights_bytes: int | None = None
        self.activation_bytes: list[int] = []
        """One figure a profile."""
        self.host_peak_bytes: int | None = None

    def feed(self, severity: str, text: str) -> bool:
        """Read one message; whether a person should see it."""
        if severity == "VERBOSE":
            if text.startswith(_PARSED):
                self.nodes_parsed += 1
            elif "\n" in text:
                for line in text.splitlines():
                    self.reader.feed(line)
            else:
                self.reader.feed(text)
            return False
        if severity in ("ERROR", "INTERNAL_ERROR"):
            if not _NO_DRIVER.search(text):
                left = max(_KEPT_ERRORS - len(self.errors), 0)
                self.errors += [line.strip()[:_MAX_LINE] for line in text.splitlines() if line.strip()][:left]
        elif severity == "WARNING":
            self.warnings += 1
        elif match := _WEIGHTS.match(text):
            self.weights_bytes = int(match[1])
        elif match := _ACTIVATIONS.match(text):
            self.activation_bytes.append(int(match[1]))
        elif match := _PEAK.search(text):
            self.host_peak_bytes = int(match[1]) * _MIB
        return True
