"""Safetensors headers: every way in which a file can be cut or corrupt is said, and none hangs."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.models import make_config_folder, make_tiny_folder, write_safetensors
from workbench.core.errors import BadInputError
from workbench.core.model import read_model


def refused(folder: Path, *words: str) -> BadInputError:
    """The error that reading gives, which must hold all `words` and say what to do."""
    with pytest.raises(BadInputError) as caught:
        read_model(folder)
    text = str(caught.value)
    for word in words:
        assert word.lower() in text.lower(), text
    assert caught.value.fix, text
    assert text.isascii() or text.encode("utf-8")
    return caught.value


def header(entries: dict[str, Any], data: int = 0, *, length: int | None = None) -> bytes:
    raw = json.dumps(entries).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + b"\0" * data


def entry(begin: int, end: int, shape: list[Any] | None = None, dtype: Any = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("truncated", "0 bytes")),
        (b"\x10\0\0", ("truncated", "3 bytes")),
        (header({"a": entry(0, 4)}, 4, length=9999), ("truncated", "9,999")),
        (struct.pack("<Q", 2**63) + b"{}", ("truncated",)),
        (struct.pack("<Q", 2) + b"{x", ("not JSON",)),
        (struct.pack("<Q", 2) + b"[]", ("not a JSON object",)),
        (struct.pack("<Q", 2) + b"\xff\xff", ("not JSON",)),
        (struct.pack("<Q", 50_000) + b"[" * 50_000, ("not JSON",)),
        (header({"a": entry(0, 4)}, 3), ("truncated", "ends at byte 4 of 3")),
        (header({"a": entry(0, 4)}, 5), ("bytes after", "1 bytes too many")),
        (header({"a": entry(0, 4), "b": entry(3, 7)}, 7), ("b overlaps",)),
        (header({"a": entry(0, 4), "b": entry(6, 8)}, 8), ("b leaves a hole",)),
        (header({"a": entry(0, 4, [2, 2], "F32")}, 4), ("do not fit", "16 bytes", "4")),
        (header({"a": entry(0, 4, [-4])}, 4), ("impossible shape",)),
        (header({"a": entry(0, 4, [2**62, 2**62])}, 4), ("impossible shape",)),
        (header({"a": entry(0, 4, [True, 4])}, 4), ("impossible shape",)),
        (
            header({"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 0]}}, 4),
            ("impossible data offsets",),
        ),
        (
            header({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0.0, 4]}}, 4),
            ("impossible data offsets",),
        ),
        (header({"a": {"dtype": "U8", "shape": [4]}}, 4), ("impossible data offsets",)),
        (header({"a": entry(0, 4, dtype="Q8")}, 4), ("data type that is not known", "Q8")),
        (header({"a": entry(0, 4, dtype=["U8"])}, 4), ("data type that is not known",)),
        (header({"a": 5}, 4), ("no description",)),
        (header({}), ("no tensors",)),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", ("Git LFS", "git lfs pull")),
    ],
)
def test_corrupt_safetensors(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    folder = make_config_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "model.safetensors", *words)


def test_truncated_download(tmp_path: Path) -> None:
    file = make_tiny_folder(tmp_path / "m") / "model.safetensors"
    os.truncate(file, file.stat().st_size - 1000)
    refused(tmp_path / "m", "model.safetensors is truncated", "again")


def test_header_over_the_limit_is_not_read(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(200_000_000)
    start = time.perf_counter()
    refused(folder, "limit of 100,000,000")
    assert time.perf_counter() - start < 1


@pytest.mark.slow
def test_many_tensors_do_not_take_quadratic_time(tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "m")
    write_safetensors(folder / "model.safetensors", {f"t{n}.weight": ("U8", (1, 1)) for n in range(100_000)})
    start = time.perf_counter()
    assert read_model(folder).parameters == 100_000
    assert time.perf_counter() - start < 5


def test_safetensors_of_the_library_are_read(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    folder = make_config_folder(tmp_path / "m")
    save_file(
        {"a.weight": np.zeros((3, 5), np.float16), "b": np.zeros((), np.float32)},
        folder / "model.safetensors",
    )
    spec = read_model(folder)
    assert (spec.parameters, spec.weight_bytes, spec.input_channels) == (16, 34, (5,))


numbers = st.integers() | st.integers(-2, 200) | st.floats()
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.dictionaries(st.text(max_size=5), anything | st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F16", "U8", "F4", "X"]), "shape": st.lists(st.integers(-1, 2**70), max_size=3),
     "data_offsets": st.lists(st.integers(-1, 2**70), max_size=3)}), max_size=3), data=st.integers(0, 64))  # fmt: skip
def test_any_header(tmp_path: Path, entries: dict[str, Any], data: int) -> None:
    folder = make_config_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(header(entries, data))
    with contextlib.suppress(BadInputError):
        read_model(folder)
