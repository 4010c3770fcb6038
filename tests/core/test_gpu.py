"""The catalogue of GPUs, and the host read from real and written cpuinfo files."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from workbench.core.errors import BadInputError
from workbench.core.gpu import CATALOGUE, find_gpu
from workbench.core.host import ISA_FLAGS, read_host

GIB = 2**30


def test_every_gpu_is_found_by_its_own_name():
    for name, gpu in CATALOGUE.items():
        assert find_gpu(name) is gpu
        assert find_gpu(f"NVIDIA {name.upper()}") is gpu
        assert 8 * GIB < gpu.memory_bytes < 300 * GIB
        assert gpu.memory_bandwidth_gb_s and 200 < gpu.memory_bandwidth_gb_s <= 8000
        assert gpu.index is None and gpu.uuid is None


@pytest.mark.parametrize(
    ("spoken", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("h100", "H100 SXM"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("A10G", None),
        ("NVIDIA L40S", "L40S"),
        ("Tesla", None),
    ],
)
def test_names_as_drivers_and_people_say_them(spoken, name):
    if name is None:
        with pytest.raises(BadInputError):
            find_gpu(spoken)
    else:
        assert find_gpu(spoken).name == name


@pytest.mark.parametrize(("typo", "nearest"), [("H201", "H200"), ("RTX 4900", "RTX 4090"), ("L40", "L40S")])
def test_unknown_names_propose_the_nearest(typo, nearest):
    with pytest.raises(BadInputError, match=f"Nearest: {nearest}") as caught:
        find_gpu(typo)
    assert caught.value.exit_code == 2
    assert "H200" in caught.value.evidence


@pytest.mark.parametrize("name", ["", "  ", "?" * 5000, "\x00\x1b[2J", "GPU"])
def test_rubbish_is_refused_in_words(name):
    with pytest.raises(BadInputError) as caught:
        find_gpu(name)
    assert len(caught.value.what) < 200
    assert "\x1b" not in caught.value.what


def test_compute_capability_and_known_figures():
    h200 = find_gpu("H200")
    assert (h200.capability, h200.sm) == ("9.0", 90)
    assert h200.memory_bytes == 143_771 * 2**20
    assert find_gpu("RTX 5090").sm == 120
    assert find_gpu("B200").compute_capability == (10, 0)


def test_gpus_cannot_be_changed():
    with pytest.raises(ValidationError):
        find_gpu("L4").memory_bytes = 1
    mine = find_gpu("L4").model_copy(update={"index": 1})
    assert mine.index == 1 and CATALOGUE["L4"].index is None


def test_this_host_is_read_quickly():
    read_host()
    started = time.perf_counter()
    host = read_host()
    # Typically under 1 ms; the bound leaves room for a busy machine.
    assert time.perf_counter() - started < 0.1
    assert 1 <= host.usable_cores <= host.logical_cores
    assert host.cpu_name
    assert host.memory_available_bytes is not None
    assert 0 < host.memory_available_bytes <= host.memory_total_bytes
    assert host.cpu_identity == read_host().cpu_identity


CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8480+
stepping\t: 8
flags\t\t: fpu sse4_2 avx fma avx2 avx512f avx512_vnni amx_tile amx_int8

processor\t: 1
model name\t: another
flags\t\t: none
"""


def test_cpuinfo_is_read_by_its_first_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    host = read_host(path)
    assert host.cpu_name == "Intel(R) Xeon(R) Platinum 8480+"
    assert host.isa == ("sse4_2", "avx", "fma", "avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_int8")
    assert set(host.isa) <= set(ISA_FLAGS)
    assert host.has("amx_tile") and not host.has("avx_vnni")


@pytest.mark.parametrize(("old", "new"), [("8480+", "8490H"), (" amx_tile", ""), ("stepping\t: 8", "stepping\t: 9")])
def test_identity_changes_with_what_a_compiled_blob_depends_on(tmp_path, old, new):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    before = read_host(path).cpu_identity
    path.write_text(CPUINFO.replace(old, new, 1))
    assert read_host(path).cpu_identity != before


def test_identity_keeps_when_the_clock_speed_changes(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.replace("stepping\t: 8\n", "stepping\t: 8\ncpu MHz\t: 2000\n"))
    before = read_host(path).cpu_identity
    path.write_text(CPUINFO.replace("stepping\t: 8\n", "stepping\t: 8\ncpu MHz\t: 3100\n"))
    assert read_host(path).cpu_identity == before


def test_missing_cpuinfo_is_no_error(tmp_path):
    host = read_host(tmp_path / "none")
    assert host.cpu_name and host.isa == ()


def test_a_control_groups_limit_counts_as_the_memory(tmp_path):
    (tmp_path / "memory.max").write_text(f"{2**29}\n")
    (tmp_path / "memory.current").write_text(f"{2**28}\n")
    host = read_host(cgroup=tmp_path)
    assert host.memory_total_bytes == 2**29
    assert host.memory_available_bytes == 2**28
    (tmp_path / "memory.max").write_text("max\n")
    assert read_host(cgroup=tmp_path).memory_total_bytes > 2**29
