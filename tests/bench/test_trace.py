"""Traces: times, lengths and shared prefixes of the layout that Mooncake's traces have, and plain prompts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.test_workloads import TEMPLATE, count, pieces
from workbench.bench.arrivals import due_times
from workbench.bench.workloads import Prompts, make_prompts
from workbench.core.errors import BadInputError
from workbench.core.measure.load import Load
from workbench.core.measure.workload import Workload, fixed


def _trace(folder: Path, rows: list[Any], counted: bool = True) -> Prompts:
    path = folder / "trace.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    workload = Workload(kind="trace", file=str(path), output=fixed(32))
    return make_prompts(workload, count if counted else None)


def _text(made: Prompts, number: int) -> str:
    messages = made(number).messages
    assert messages is not None
    return messages[-1].content


def _shared(one: str, other: str) -> int:
    pairs = zip(pieces(one), pieces(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


MOONCAKE = [
    {"timestamp": 0, "input_length": 1400, "output_length": 60, "hash_ids": [1, 2, 3]},
    {"timestamp": 500, "input_length": 1200, "output_length": 20, "hash_ids": [1, 2, 4]},
    {"timestamp": 1500, "input_length": 700, "output_length": 5, "hash_ids": [1, 5]},
    {"timestamp": 2500, "input_length": 300, "output_length": 9, "hash_ids": [6]},
]


def test_mooncakes_layout(tmp_path: Path) -> None:
    made = _trace(tmp_path, MOONCAKE)
    assert made.notes == () and len(made) == 4
    assert [made(i).at_s for i in range(4)] == [0.0, 0.5, 1.5, 2.5]
    assert [made(i).max_tokens for i in range(4)] == [60, 20, 5, 9]
    for number, row in enumerate(MOONCAKE):
        assert abs(count(_text(made, number)) - int(row["input_length"])) <= 14  # type: ignore[call-overload]
    # Two blocks of 512 are shared, one, none; by the stand-in's tokens, within some percent.
    assert _shared(_text(made, 0), _text(made, 1)) == pytest.approx(1024, rel=0.05)
    assert _shared(_text(made, 0), _text(made, 2)) == pytest.approx(512, rel=0.05)
    assert _shared(_text(made, 0), _text(made, 3)) < 20
    assert _text(made, 1) == _text(made, 1)
    with pytest.raises(IndexError):
        made(4)
    with pytest.raises(IndexError):
        made(-1)


def test_other_sizes_of_blocks_are_found(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 100, "output_length": 1, "hash_ids": [1, 2, 3, 4, 5, 6, 7]},
        {"timestamp": 1, "input_length": 120, "output_length": 1, "hash_ids": [1, 2, 3, 4, 5, 6, 9, 8]},
    ]
    made = _trace(tmp_path, rows)
    assert made.notes == ()
    assert _shared(_text(made, 0), _text(made, 1)) >= (96 - TEMPLATE) * 0.8
    rows[0]["hash_ids"] = [1, 2]
    odd = _trace(tmp_path, rows)
    assert "hash_ids do not fit" in odd.notes[0]
    assert _shared(_text(odd, 0), _text(odd, 1)) < 20


def test_the_load_generator_replays_it(tmp_path: Path) -> None:
    made = _trace(tmp_path, MOONCAKE)
    assert list(due_times(Load(arrival="trace", levels=(2.0,)), 2.0, 0, made)) == [0.0, 0.25, 0.75, 1.25]


def test_prompts_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"timestamp_s": 2.5, "prompt": "later", "output_length": 3},
        {"timestamp_ms": 500, "messages": [{"role": "user", "content": "sooner"}]},
    ]
    made = _trace(tmp_path, rows, counted=False)
    assert [_text(made, i) for i in range(2)] == ["sooner", "later"]
    assert [made(i).at_s for i in range(2)] == [0.5, 2.5] and made(0).max_tokens == 32
    assert len(made.notes) == 1 and "sorted" in made.notes[0]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"prompt": "x"}', "no timestamp"),
        ('{"timestamp": -1, "prompt": "x"}', "below 0"),
        ('{"timestamp": "noon", "prompt": "x"}', "timestamp is no number"),
        ('{"timestamp": 1}', "neither a prompt nor input_length"),
        ('{"timestamp": 1, "input_length": 0}', "not a length"),
        ('{"timestamp": 1, "input_length": 9, "hash_ids": "1"}', "hash_ids is no list"),
        ("[]", "no object"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, line: str, why: str) -> None:
    made = _trace(tmp_path, [*MOONCAKE, line, MOONCAKE[3]])
    assert len(made) == 5 and "line 5" in made.notes[0] and why in made.notes[0]
    with pytest.raises(BadInputError, match="no request that can be used"):
        _trace(tmp_path, [line])


def test_long_traces_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    """1,500 requests of 8,000 tokens would be 60 MB of text: lengths are by a ratio, and that is said."""
    rows = [
        {"timestamp": i, "input_length": 8000, "output_length": 1, "hash_ids": [i % 7 * 100 + b for b in range(16)]}
        for i in range(1500)
    ]
    made = _trace(tmp_path, rows)
    assert "within some percent" in made.notes[0]
    assert count(_text(made, 1499)) == pytest.approx(8000, rel=0.05)
    assert _text(made, 0) == _text(made, 7) != _text(made, 1)
