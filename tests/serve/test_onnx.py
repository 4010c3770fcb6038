"""An ONNX Runtime engine behind the server's door: a real engine host that has no KV blocks to report."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import start
from tests.cli.test_serve import line_with
from tests.fakes.markov import ANSWER
from tests.fakes.onnx_engines import write_provenance
from tests.serve.test_process import ask
from tests.workers.conftest import run_worker  # noqa: F401
from tests.workers.onnxruntime.conftest import engine, known, onnx_python, run_onnx  # noqa: F401
from workbench.core.home import Home

pytestmark = pytest.mark.slow


def test_its_answers_its_metrics_and_its_end(
    home: Home,
    engine: Path,  # noqa: F811
    onnx_python: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKBENCH_ONNXRUNTIME_PYTHON", onnx_python)
    folder = Path(shutil.copytree(engine, tmp_path / "engine"))
    facts = json.loads((folder / "engine.json").read_text())
    write_provenance(folder, "onnxruntime", "fp32", facts, {"build": dict(facts["versions"])})
    with start("serve", str(folder), "--port", "0", "--model", "tiny") as process:
        url = line_with(process, "Ctrl+C stops it").partition(" at ")[2].partition(" ")[0]
        found: list[tuple[int, dict[str, Any]]] = []
        body = {"model": "tiny", "prompt": "Hi", "max_tokens": 8, "temperature": 0}
        asking = [threading.Thread(target=lambda: found.append(ask(url, body))) for _ in range(3)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(30)
        assert [status for status, _ in found] == [200] * 3, found
        texts = {answer["choices"][0]["text"] for _, answer in found}
        assert len(texts) == 1 and texts.pop().strip().startswith(ANSWER.split()[0])
        streamed = urllib.request.Request(
            f"{url}/chat/completions",
            json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "stream": True}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(streamed, timeout=30) as answer:
            assert answer.read().endswith(b"data: [DONE]\n\n")
        with urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics", timeout=30) as answer:
            metrics = answer.read().decode()
        assert "kv_cache_usage_perc" not in metrics, "it is not reported, and so not 0"
        assert "generation_tokens_total" in metrics
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "stopped after 4 answered requests" in out, err
