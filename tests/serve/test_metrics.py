"""What a server tells of speculative decoding: by vLLM's names, and only what its engine reports."""

from __future__ import annotations

from workbench.core.messages import Drafted, Stats
from workbench.core.server_metrics import read_metrics
from workbench.serve.engine_backend import drafted_of
from workbench.serve.metrics import Meter


def told(meter: Meter, stats: Stats | None) -> tuple[int | None, int | None, int | None]:
    """Drafted, accepted, passes as a client reads them, after the engine's `stats`."""
    meter.now(active=0, queued=0, connections=1, kv_share=None, drafted=drafted_of(stats))
    found = read_metrics(meter.prometheus()).stats()
    return found.draft_tokens, found.accepted_tokens, found.draft_passes


def test_guesses_are_counted_on_by_the_engines_own_counters() -> None:
    meter = Meter("m")
    assert told(meter, Stats(draft_tokens=10, accepted_tokens=4, draft_passes=2)) == (10, 4, 2)
    assert told(meter, Stats(draft_tokens=25, accepted_tokens=9, draft_passes=5)) == (25, 9, 5)
    assert told(meter, Stats(draft_tokens=25, accepted_tokens=9, draft_passes=5)) == (25, 9, 5)
    lines = meter.prometheus().decode().splitlines()
    assert 'workbench_spec_decode_num_draft_tokens_total{model_name="m"} 25.0' in lines
    assert 'workbench_spec_decode_num_accepted_tokens_total{model_name="m"} 9.0' in lines


def test_what_is_not_reported_is_not_there() -> None:
    meter = Meter("m")
    assert told(meter, None) == told(meter, Stats(generated_tokens=5)) == (None, None, None)
    assert b"spec_decode" not in meter.prometheus(), "no guesses is no count of 0"
    assert told(meter, Stats(accepted_tokens=3, draft_passes=2)) == (None, 3, 2), "a lookup does not tell what it tried"
    assert b"draft_tokens" not in meter.prometheus()
    assert drafted_of(Stats(accepted_tokens=0, draft_tokens=0, draft_passes=0)) == Drafted(
        draft_tokens=0, accepted_tokens=0, passes=0
    )
