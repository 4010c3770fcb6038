"""The memory picture adds up, whatever is reported."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.telemetry.memory import GPU_PARTS, HOST_PARTS, EngineMemory, MemoryPicture, memory_parts

GIB = 2**30
SIZES = st.integers(-(2**20), 2**42)
ENGINES = st.lists(
    st.builds(
        EngineMemory,
        pids=st.lists(st.integers(1, 6), max_size=3).map(tuple),
        reported=st.dictionaries(
            st.sampled_from(["weights", "activations", "runtime", "kv_pool", "process", "held", "other"]), SIZES
        ),
        kv_used_share=st.none() | st.floats(-1, 2),
    ),
    max_size=3,
)


@settings(max_examples=70)
@given(
    total=SIZES,
    used=SIZES,
    engines=ENGINES,
    processes=st.none() | st.dictionaries(st.integers(1, 6), st.none() | SIZES),
    own=st.none() | SIZES,
    cache=st.none() | SIZES,
    resident=st.booleans(),
)
def test_parts_add_up_for_any_input(
    total: int,
    used: int,
    engines: list[EngineMemory],
    processes: dict[int, int | None] | None,
    own: int | None,
    cache: int | None,
    resident: bool,
) -> None:
    picture = memory_parts(total, used, engines, processes, own_bytes=own, cache_bytes=cache, pool_resident=resident)
    assert picture is not None
    assert picture.total_bytes == max(total, 0)
    assert sum(part.bytes for part in picture.parts) == picture.total_bytes
    assert all(part.bytes >= 0 and isinstance(part.bytes, int) for part in picture.parts)
    names = HOST_PARTS if own is not None or cache is not None else GPU_PARTS
    assert tuple(part.name for part in picture.parts) == names
    known = [size for size in (processes or {}).values() if size is not None and size > 0]
    reports = sum(max(size, 0) for engine in engines for size in engine.reported.values())
    assert picture.engine_bytes <= min(max(used, 0), sum(known) * max(len(engines) * 3, 1) + reports)
    assert not resident or picture.bytes("free") <= picture.total_bytes


def test_nothing_is_drawn_of_a_device_that_does_not_say() -> None:
    assert memory_parts(None, 5) is None
    assert memory_parts(5, None) is None


def sizes(picture: MemoryPicture | None) -> dict[str, int]:
    assert picture is not None
    return {part.name: part.bytes // GIB for part in picture.parts if part.bytes}


def test_an_engine_that_reports_all_is_split() -> None:
    engine = EngineMemory((10, 11), {"weights": 16 * GIB, "kv_pool": 40 * GIB, "activations": 3 * GIB}, 0.25)
    picture = memory_parts(80 * GIB, 65 * GIB, [engine], {10: GIB, 11: 60 * GIB, 99: 3 * GIB})
    assert sizes(picture) == {
        "weights": 16,
        "kv_used": 10,
        "kv_free": 30,
        "activations": 3,
        "unsplit": 2,
        "other": 4,
        "free": 15,
    }


def test_what_an_engine_does_not_split_is_named_so() -> None:
    picture = memory_parts(80 * GIB, 65 * GIB, [EngineMemory((10,))], {10: 60 * GIB})
    assert sizes(picture) == {"unsplit": 60, "other": 5, "free": 15}
    pool = EngineMemory((10,), {"kv_pool": 40 * GIB}, None)
    assert sizes(memory_parts(80 * GIB, 65 * GIB, [pool], {10: 60 * GIB})) == {"unsplit": 60, "other": 5, "free": 15}


def test_an_engine_has_no_more_than_its_process_holds() -> None:
    engine = EngineMemory((10,), {"weights": 16 * GIB, "kv_pool": 400 * GIB}, 0.5)
    assert sizes(memory_parts(80 * GIB, 30 * GIB, [engine], {10: 20 * GIB})) == {
        "weights": 16,
        "kv_used": 4,
        "other": 10,
        "free": 50,
    }


def test_processes_without_sizes_leave_the_engines_own_word() -> None:
    engine = EngineMemory((), {"weights": 16 * GIB, "kv_pool": 8 * GIB, "held": 30 * GIB}, 0.5)
    assert sizes(memory_parts(80 * GIB, 40 * GIB, [engine], {10: None})) == {
        "weights": 16,
        "kv_used": 4,
        "kv_free": 4,
        "unsplit": 6,
        "other": 10,
        "free": 40,
    }


def test_a_pool_that_a_host_never_touched_is_not_counted_as_used() -> None:
    engine = EngineMemory((10,), {"kv_pool": 16 * GIB, "process": 2 * GIB}, 0.0625)
    picture = memory_parts(
        32 * GIB, 9 * GIB, [engine], {10: 2 * GIB}, own_bytes=GIB, cache_bytes=8 * GIB, pool_resident=False
    )
    assert sizes(picture) == {"own": 1, "kv_used": 1, "unsplit": 1, "other": 6, "cache": 8, "free": 15}


def test_two_engines_share_a_device() -> None:
    one = EngineMemory((10,), {"weights": 4 * GIB, "kv_pool": 4 * GIB}, 0.5)
    two = EngineMemory((20,), {"weights": 2 * GIB}, None)
    picture = memory_parts(80 * GIB, 20 * GIB, [one, two], {10: 9 * GIB, 20: 6 * GIB})
    assert sizes(picture) == {"weights": 6, "kv_used": 2, "kv_free": 2, "unsplit": 5, "other": 5, "free": 60}
