"""lm-evaluation-harness: its command line, what becomes of its end, and its results file. A small program stands in."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from workbench.core.endpoint import EndpointSpec
from workbench.core.errors import BadInputError, BlockedError, CancelledError, StepFailedError
from workbench.core.measure.quality_options import LmEvalOptions
from workbench.measure.lm_eval import PYTHON_VARIABLE, harness_argv, interpreter, read_results, run_harness

SPEC = EndpointSpec(base_url="http://127.0.0.1:8000/v1", model="tiny", api="completions")
OPTIONS = LmEvalOptions(tasks=("arc_easy", "gsm8k"), limit=5, shots=2)
RESULTS: dict[str, Any] = {
    "results": {
        "arc_easy": {"alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_norm,none": 0.25},
        "gsm8k": {"exact_match,strict-match": 1.0, "exact_match_stderr,strict-match": 0.0},
        "mmlu": {"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "mmlu"},
        "broken": {"acc,none": float("nan"), "acc_stderr,none": "N/A"},
    },
    "n-samples": {"arc_easy": {"original": 2376, "effective": 5}, "gsm8k": {"original": 1319, "effective": 4}},
    "n-shot": {"arc_easy": 2},
}


def stand_in(path: Path, body: str) -> dict[str, str]:
    """An interpreter that runs `body` whatever module it is asked for; `arguments` are those of the harness."""
    path.write_text(
        f"#!{sys.executable}\nimport json, os, sys, time\nfrom pathlib import Path\narguments = sys.argv[1:]\n"
        f"out = Path(arguments[arguments.index('--output_path') + 1])\n{body}\n",
        "utf-8",
    )
    path.chmod(0o755)
    return {PYTHON_VARIABLE: str(path)}


def run(tmp_path: Path, body: str, *, key: str | None = None, stop: threading.Event | None = None) -> Any:
    environ = stand_in(tmp_path / "python", body)
    return run_harness(
        SPEC, OPTIONS, key=key, environ=environ, folder=tmp_path, log_path=tmp_path / "log.txt", stop=stop
    )


def test_its_command_line_names_the_server_and_no_key(tmp_path: Path) -> None:
    argv = harness_argv("python", SPEC, OPTIONS, tmp_path)
    assert argv[:5] == ["python", "-m", "lm_eval", "--model", "local-completions"]
    assert "model=tiny,base_url=http://127.0.0.1:8000/v1/completions" in argv[6]
    assert argv[argv.index("--tasks") + 1] == "arc_easy,gsm8k"
    assert argv[argv.index("--limit") + 1] == "5" and argv[argv.index("--num_fewshot") + 1] == "2"
    assert "tokenizer" not in argv[6].replace("tokenized_requests", "")
    own = harness_argv("python", SPEC.model_copy(update={"ca_file": "/ca.pem"}), OPTIONS, tmp_path, tokenizer="/model")
    assert "ca_cert_path=/ca.pem" in own[6] and "tokenizer=/model,tokenizer_backend=huggingface" in own[6]
    chat = harness_argv("python", SPEC.model_copy(update={"api": "chat", "verify_tls": False}), OPTIONS, tmp_path)
    assert "local-chat-completions" in chat and "--apply_chat_template" in chat
    assert "base_url=http://127.0.0.1:8000/v1/chat/completions" in chat[6] and "verify_certificate=False" in chat[6]


def test_a_name_that_it_would_take_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError):
        harness_argv("python", SPEC.model_copy(update={"model": "a,b"}), OPTIONS, tmp_path)


def test_scores_come_with_their_errors_and_the_key_by_the_environment(tmp_path: Path) -> None:
    body = (
        f"results = json.loads({json.dumps(json.dumps(RESULTS))})\n"
        "assert 'secret' not in ' '.join(arguments)\n"
        "results['results']['arc_easy']['acc,none'] = 0.75 if os.environ['OPENAI_API_KEY'] == 'secret' else 0.0\n"
        "(out / 'tiny').mkdir(parents=True)\n"
        "(out / 'tiny' / 'results_1.json').write_text(json.dumps(results))"
    )
    acc, norm, match, group = run(tmp_path, body, key="secret")
    assert (acc.name, acc.metric, acc.score.value, acc.score.n, acc.shots) == ("arc_easy", "acc", 0.75, 5, 2)
    assert acc.score.stderr == 0.1 and acc.score.low < 0.5, "Wilson's interval of 5 questions"
    assert (norm.metric, norm.score.stderr) == ("acc_norm", None)
    assert (match.name, match.metric, match.score.stderr) == ("gsm8k (strict-match)", "exact_match", None)
    assert match.score.value == 1.0 and match.score.low < 0.7, "4 of 4 right is not certainty"
    assert (group.name, group.score.n) == ("mmlu", 0) and group.score.low == pytest.approx(0.5 - 1.96 * 0.1, abs=1e-3)
    assert "secret" not in (tmp_path / "log.txt").read_text("utf-8")


def test_one_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError) as caught:
        run(tmp_path, "sys.exit('task not found: arc_easy')")
    assert "task not found: arc_easy" in caught.value.evidence


def test_one_that_is_stopped_ends_at_once(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        run(tmp_path, "time.sleep(60)", stop=stop)
    assert time.monotonic() - began < 5


def test_results_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError):
        run(tmp_path, "pass")
    (tmp_path / "results_1.json").write_text("[]", "utf-8")
    with pytest.raises(StepFailedError):
        read_results(tmp_path)


def test_without_an_interpreter_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BlockedError) as caught:
        interpreter({PYTHON_VARIABLE: str(tmp_path / "absent")})
    assert PYTHON_VARIABLE in caught.value.evidence
