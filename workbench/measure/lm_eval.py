"""Drives lm-evaluation-harness, in an interpreter of its own, against an endpoint, and reads its results."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.core.endpoint import EndpointSpec
from workbench.core.errors import BadInputError, BlockedError, CancelledError, StepFailedError
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import TaskScore
from workbench.core.measure.quality_figures import Z_95, share
from workbench.core.measure.quality_options import LmEvalOptions
from workbench.jobs.folder import last_log_line

PYTHON_VARIABLE = "WORKBENCH_LM_EVAL_PYTHON"
TOKENIZER_VARIABLE = "WORKBENCH_LM_EVAL_TOKENIZER"
"""Folder (or Hugging Face name) of the served model's tokenizer, for endpoints asked by the completions API: there the
harness counts a context's tokens itself. Without it, it looks for a tokenizer by the served model's name."""
KEY_VARIABLE = "OPENAI_API_KEY"
"""The harness reads its key from there; it is never an argument."""
GRACE_SECONDS = 5.0
_METRICS = ("acc", "acc_norm", "exact_match")


def interpreter(environ: Mapping[str, str]) -> str:
    """The Python that holds lm-evaluation-harness. Raises BlockedError when none is known."""
    named = environ.get(PYTHON_VARIABLE, "")
    if named:
        found = shutil.which(named)
        if found is None:
            raise BlockedError(
                "The interpreter for lm-evaluation-harness is not there.",
                evidence=f"{PYTHON_VARIABLE}={named}",
                fix="Name the bin/python of an environment with `pip install 'lm-eval[api]' transformers`.",
                code="no-lm-eval",
            )
        return found
    if importlib.util.find_spec("lm_eval") is not None:
        return sys.executable
    raise BlockedError(
        "lm-evaluation-harness is not installed.",
        evidence=f"no module lm_eval here, and {PYTHON_VARIABLE} is not set",
        fix="Run `pip install 'lm-eval[api]' transformers` in an environment of its own and name its Python in "
        f"{PYTHON_VARIABLE}.",
        code="no-lm-eval",
    )


def harness_argv(
    python: str, endpoint: EndpointSpec, options: LmEvalOptions, out: Path, *, tokenizer: str = ""
) -> list[str]:
    """Its command line. Raises BadInputError for names that it would take apart."""
    for value in (endpoint.model, endpoint.base_url, endpoint.ca_file, tokenizer, *options.tasks):
        if "," in value or (value != endpoint.base_url and "=" in value):
            raise BadInputError(
                "lm-evaluation-harness cannot take a name with a comma or an equals sign.",
                evidence=value,
                fix="Serve the model under another name, or move the file.",
                code="bad-name",
            )
    if endpoint.api == "triton":
        raise BadInputError(
            "lm-evaluation-harness does not speak Triton's generate API.",
            evidence=endpoint.url("triton"),
            fix="Measure the engine itself, or an endpoint with an OpenAI-compatible API.",
            code="wrong-api",
        )
    chat = endpoint.api == "chat"
    url = endpoint.chat_url if chat else endpoint.completions_url
    arguments = {
        "model": endpoint.model,
        "base_url": url,
        "num_concurrent": "4",
        "max_retries": "3",
        "tokenized_requests": "False",
    }
    if not endpoint.verify_tls:
        arguments["verify_certificate"] = "False"
    elif endpoint.ca_file:
        arguments["ca_cert_path"] = endpoint.ca_file
    if tokenizer and not chat:
        arguments |= {"tokenizer": tokenizer, "tokenizer_backend": "huggingface"}
    argv = [python, "-m", "lm_eval", "--model", "local-chat-completions" if chat else "local-completions"]
    argv += ["--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())]
    argv += ["--tasks", ",".join(options.tasks), "--output_path", str(out), "--batch_size", "1"]
    if chat:
        argv.append("--apply_chat_template")
    if options.limit is not None:
        argv += ["--limit", str(options.limit)]
    if options.shots is not None:
        argv += ["--num_fewshot", str(options.shots)]
    return argv


def run_harness(
    endpoint: EndpointSpec,
    options: LmEvalOptions,
    *,
    key: str | None,
    environ: Mapping[str, str],
    folder: Path,
    log_path: Path,
    stop: threading.Event | None = None,
) -> tuple[TaskScore, ...]:
    """Run it to its end. Raises BlockedError when it is not installed, StepFailedError when it fails, CancelledError
    when `stop` is set."""
    out = folder / "lm_eval"
    tokenizer = environ.get(TOKENIZER_VARIABLE, "")
    argv = harness_argv(interpreter(environ), endpoint, options, out, tokenizer=tokenizer)
    env = {**os.environ, **environ}
    env.pop(KEY_VARIABLE, None)  # another service's key is not for this server
    env[KEY_VARIABLE] = key or "none"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=env, start_new_session=True
        )
    try:
        while process.poll() is None:
            if stop is not None and stop.is_set():
                raise CancelledError("lm-evaluation-harness was stopped.", code="cancelled")
            time.sleep(0.1)
    finally:
        _end(process)
    if process.returncode != 0:
        raise StepFailedError(
            "lm-evaluation-harness failed.",
            evidence=f"exit code {process.returncode}; last line: {last_log_line(log_path)}",
            fix="The log has its output. Multiple choice needs an endpoint of the completions API whose server gives "
            f"log-probs of a prompt, and the model's tokenizer: name its folder in {TOKENIZER_VARIABLE}.",
            code="lm-eval-failed",
        )
    return read_results(out)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_results(out: Path) -> tuple[TaskScore, ...]:
    """Scores of the newest results file under a folder. Raises StepFailedError."""
    files = sorted(out.rglob("results*.json"), key=lambda path: path.stat().st_mtime)
    try:
        data = json.loads(files[-1].read_bytes())
        results = dict(data["results"])
    except (IndexError, OSError, ValueError, KeyError, TypeError) as error:
        raise StepFailedError(
            "The results of lm-evaluation-harness cannot be read.",
            evidence=str(error) or f"no results file in {out}",
            code="bad-results",
        ) from error
    samples, shots = data.get("n-samples") or {}, data.get("n-shot") or {}
    found: list[TaskScore] = []
    for task, figures in results.items():
        count = (samples.get(task) or {}).get("effective")
        found += _scores(str(task), figures, count if isinstance(count, int) else 0, shots.get(task), files[-1].name)
    return tuple(found)


def _estimate(value: float, stderr: float | None, count: int) -> Estimate:
    """With Wilson's interval: the harness's error is 0 where all or none are right, which few questions cannot tell. A
    group of tasks comes without a count, and has that of its error."""
    if count:
        return share(value, stderr, count)
    half = None if not stderr else Z_95 * stderr
    return Estimate(
        value=value,
        low=None if half is None else max(value - half, 0.0),
        high=None if half is None else min(value + half, 1.0),
        stderr=stderr,
    )


def _scores(task: str, figures: Any, count: int, shots: Any, source: str) -> Sequence[TaskScore]:
    """Figures are named `metric,filter`; their standard errors `metric_stderr,filter`, "N/A" where there is none."""
    found = []
    for name, value in figures.items() if isinstance(figures, dict) else ():
        metric, _, kind = str(name).partition(",")
        if metric not in _METRICS or not isinstance(value, int | float) or not 0 <= value <= 1:
            continue  # not a number is not a score either
        error = figures.get(f"{metric}_stderr,{kind}")
        stderr = float(error) if isinstance(error, int | float) and math.isfinite(error) else None
        value = float(value)
        found.append(
            TaskScore(
                name=task if kind in ("", "none") else f"{task} ({kind})",
                metric=metric,
                score=_estimate(value, stderr, count),
                shots=shots if isinstance(shots, int) else 0,
                source=f"lm-evaluation-harness, {source}",
            )
        )
    return found
