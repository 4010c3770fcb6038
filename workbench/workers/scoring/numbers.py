"""Log-likelihoods, KL divergence and top tokens from rows of logits, in numpy; NaN stays NaN, never an exception."""

from __future__ import annotations

from typing import Any


def log_total(rows: Any) -> Any:
    """log(sum(exp(row))) of float32 rows, summed in float64, shifted so that nothing overflows; shape (positions,)."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        top = rows.max(axis=-1, keepdims=True)
        total = np.exp(rows - top).sum(axis=-1, dtype=np.float64)
        return np.log(total) + top[:, 0].astype(np.float64)


def nll_of(rows: Any, targets: Any) -> Any:
    """Negative log-likelihood of each row's target, nats, float64 (positions,); NaN where the logits hold one."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        chosen = rows[np.arange(len(targets)), targets].astype(np.float64)
        return log_total(rows) - chosen


def log_softmax(rows: Any) -> Any:
    """Natural logs of softmax over the last axis, float64."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        return rows.astype(np.float64) - log_total(rows)[:, None]


def kl_nats(log_p: Any, log_q: Any) -> Any:
    """KL(p || q) of each row, nats: sum of p * (log p - log q); where p is 0 nothing is added. NaN gives NaN.

    A model that pads its vocabulary gives more columns: those beyond the narrower one are cut off and what is left is
    brought to a sum of 1 again.
    """
    import numpy as np

    width = min(log_p.shape[-1], log_q.shape[-1])
    if log_p.shape[-1] != log_q.shape[-1]:
        log_p, log_q = log_softmax(log_p[:, :width]), log_softmax(log_q[:, :width])
    log_p, log_q = log_p.astype(np.float64), log_q.astype(np.float64)
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(log_p), 0.0, np.exp(log_p) * (log_p - log_q))
        # Rounding can leave a sum a hair below zero.
        return np.maximum(terms.sum(axis=-1), 0.0)


def top_two(log_p: Any) -> list[tuple[int, float]]:
    """The two likeliest tokens of one row of log-probabilities, with their probabilities; [] when it holds a NaN."""
    import numpy as np

    if np.isnan(log_p).any() or log_p.shape[0] < 2:
        return []
    pair = np.argpartition(log_p, -2)[-2:]
    pair = pair[np.argsort(log_p[pair])[::-1]]
    return [(int(token), float(np.exp(log_p[token]))) for token in pair]
