"""What to know when the figures of a level are read: what is missing from them and what was assumed, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from workbench.core.measure.record import PointRecord, RequestRecord
from workbench.core.measure.request_figures import RequestFigures


def figure_notes(
    points: Sequence[PointRecord],
    measured: Sequence[RequestRecord],
    done: Sequence[RequestRecord],
    each: Sequence[RequestFigures],
    *,
    fixed_output: bool,
) -> tuple[str, ...]:
    """Sentences on the repeats of a level. `measured`: all of their requests without the warm-up; `done`: those of
    them that completed; `each`: the figures of those, in their order.
    """
    notes: list[str] = []
    total = len(measured)
    if any(point.end == "stopped" for point in points):
        notes.append("It was stopped: these figures are of what was measured until then.")
    if not done:
        notes.append("No request completed." if total else "No request was measured.")
    elif len(done) == 1:
        notes.append("One request completed: percentiles are of that one.")
    failed = sum(request.end in ("error", "timeout") for request in measured)
    if failed:
        notes.append(f"{failed:,} of {total:,} requests failed; they are in no percentile.")
    cut = sum(request.end == "abort" for point in points if point.end == "complete" for request in point.measured)
    if cut:
        notes.append(
            f"{cut:,} of {total:,} requests were not over when the time to drain was and were cut off: they are in no "
            "percentile, which would be worse with them."
        )
    malformed = sum(request.malformed for request in measured)
    if malformed:
        notes.append(f"Malformed events of the server that were passed over: {malformed:,}. Tokens may be missing.")
    if fixed_output:
        wrong = [(f.tokens, r.wanted_tokens) for f, r in zip(each, done, strict=True) if f.tokens != r.wanted_tokens]
        if wrong:
            got, wanted = Counter(wrong).most_common(1)[0][0]
            notes.append(
                f"{len(wrong):,} of {len(done):,} answers do not have the length that was asked for "
                f"(such as {got:,} tokens of {wanted:,}): speeds are not of equal work."
            )
    uneven = sum(
        request.reported_tokens is not None
        and request.count_source != "server usage"
        and 0 < sum(chunk.tokens for chunk in request.chunks) != request.reported_tokens
        for request in done
    )
    if uneven:
        notes.append(f"{uneven:,} of {len(done):,} answers carried another number of tokens than usage reports.")
    assumed = sum(request.count_source is None and f.tokens > 0 for f, request in zip(each, done, strict=True))
    if assumed:
        notes.append(
            f"{assumed:,} of {len(done):,} answers came with no token count: one token a response is assumed, and what "
            "is by tokens is as wrong as that."
        )
    uncounted = sum(not f.tokens and bool(r.chunks) for f, r in zip(each, done, strict=True))
    if uncounted:
        notes.append(f"{uncounted:,} of {len(done):,} answers came with no token count: they are in no speed.")
    empty = sum(not f.tokens and not r.chunks for f, r in zip(each, done, strict=True))
    if empty:
        notes.append(f"{empty:,} of {len(done):,} answers held no token at all.")
    at_once = sum(f.tokens > 1 and f.itl_ms is None for f in each)
    if at_once:
        notes.append(f"{at_once:,} of {len(done):,} answers came in one response: they have no inter-token latency.")
    sources = sorted({request.count_source for request in done if request.count_source})
    if len(sources) > 1:
        notes.append(f"Token counts are from several sources: {', '.join(sources)}.")
    notes += dict.fromkeys(point.client.words for point in points if point.client.bottleneck)
    return tuple(notes)
