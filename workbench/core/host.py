"""The host as the planner sees it: memory, and the CPU, which decides what a compiled blob is valid for."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

# Instruction sets that CPU kernels choose by; a blob compiled for one set is not valid for another.
ISA_FLAGS = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx_vnni_int8",
    "avx_ne_convert",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx10",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    # aarch64
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
)

_HEAD_BYTES = 16384  # the first processor's entry; the file has one a core, and all of it is slow to read on big hosts


class HostSpec(BaseModel):
    """A machine's CPU and memory. None is "not reported"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_name: str
    cpu_model: str = ""
    """Vendor, family, model and stepping, which tell CPUs apart that a hypervisor gives one name."""
    physical_cores: int | None
    logical_cores: int
    usable_cores: int
    """Logical cores that this process may use (affinity), at least 1."""
    isa: tuple[str, ...]
    """Those of ISA_FLAGS that the CPU has, in that order."""
    memory_total_bytes: int
    """Installed memory, or the control group's limit where that is smaller."""
    memory_available_bytes: int | None = None
    os: str = ""

    @property
    def cpu_identity(self) -> str:
        """Changes whenever a compiled CPU blob may not be valid any more; part of cache keys."""
        return " | ".join([self.cpu_name, self.cpu_model, ",".join(self.isa)])

    def has(self, flag: str) -> bool:
        """Whether the CPU has this instruction set."""
        return flag in self.isa


def read_host(cpuinfo: Path = Path("/proc/cpuinfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> HostSpec:
    """This machine, in a few milliseconds. The paths are where Linux keeps them."""
    fields = _first_processor(cpuinfo)
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is not None and limit < total:
        total = limit
        available = min(available, max(limit - used, 0)) if used is not None else min(available, limit)
    logical = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    name, model, isa = _cpu(fields)
    return HostSpec(
        cpu_name=name or platform.processor() or platform.machine() or "unknown CPU",
        cpu_model=model,
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=logical,
        usable_cores=max(usable, 1),
        isa=isa,
        memory_total_bytes=total,
        memory_available_bytes=available,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


def host_of(facts: Mapping[str, Any]) -> HostSpec:
    """Another machine, from what workers/machine.py said there. Raises ValueError, TypeError, KeyError for rubbish."""
    name, model, isa = _cpu(_fields(str(facts["cpuinfo"])))
    total, available = int(facts["memory_total_bytes"]), int(facts["memory_available_bytes"] or 0)
    limit = str(facts.get("memory_limit") or "")
    if limit.isdigit() and int(limit) < total:
        total = int(limit)
        used = str(facts.get("memory_used") or "")
        available = min(available, max(total - int(used), 0) if used.isdigit() else total)
    return HostSpec(
        cpu_name=name or str(facts.get("processor") or "unknown CPU"),
        cpu_model=model,
        physical_cores=facts.get("physical_cores"),
        logical_cores=int(facts["logical_cores"]),
        usable_cores=max(int(facts["usable_cores"]), 1),
        isa=isa,
        memory_total_bytes=total,
        memory_available_bytes=available,
        os=str(facts.get("os") or ""),
    )


def _cpu(fields: Mapping[str, str]) -> tuple[str, str, tuple[str, ...]]:
    """Name (empty: not said), model and instruction sets by the fields of a processor."""
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    x86 = [fields.get(key, "") for key in ("vendor_id", "cpu family", "model", "stepping")]
    arm = [fields.get(key, "") for key in ("CPU implementer", "CPU part", "CPU variant", "CPU revision")]
    model = "/".join(part for part in (x86 if any(x86) else arm) if part)
    return fields.get("model name", ""), model, tuple(flag for flag in ISA_FLAGS if flag in flags)


def _first_processor(path: Path) -> dict[str, str]:
    """The fields of the first processor in a cpuinfo file; empty where there is no such file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return {}
    return _fields(head.split("\n\n", 1)[0])


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields[key.strip()] = value.strip()
    return fields


def _number(path: Path) -> int | None:
    """The whole number in a control-group file; None for "max" and where there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
