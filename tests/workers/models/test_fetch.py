"""The download worker as a real process against a small Hub on 127.0.0.1: resume, refusals, offline, disk full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import COMMIT, REPO, Hub, running_hub
from workbench.core.model import read_model

SECRET = "hf_SecretSecretSecretSecretSecretSe"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running_hub(tmp_path / "source") as hub:
        yield hub


def start(hub: Hub, cache: Path, settings: dict[str, Any] | None = None, **env: str) -> subprocess.Popen[bytes]:
    spec = {"protocol": 1, "worker": "models.fetch", "settings": {"repo_id": REPO, **(settings or {})}}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and k != "TRANSFORMERS_OFFLINE"}
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.workers.models.fetch"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env=kept | {"HF_HOME": str(cache), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1", **env},
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps(spec).encode() + b"\n")
    process.stdin.flush()
    return process


def finish(process: subprocess.Popen[bytes]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, messages, and the raw log. Standard input stays open until the worker ends."""
    assert process.stdout and process.stderr and process.stdin
    log: list[bytes] = []
    reader = threading.Thread(target=lambda: log.append(process.stderr.read()))  # type: ignore[union-attr]
    reader.start()
    messages = [json.loads(line) for line in process.stdout]
    code = process.wait(60)
    reader.join()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    return code, messages, b"".join(log).decode("utf-8", "replace")


def fetch(
    hub: Hub, cache: Path, settings: dict[str, Any] | None = None, **env: str
) -> tuple[int, list[dict[str, Any]], str]:
    return finish(start(hub, cache, settings, **env))


def fetched(hub: Hub, cache: Path, settings: dict[str, Any] | None = None, **env: str) -> dict[str, Any]:
    code, messages, log = fetch(hub, cache, settings, **env)
    assert code == 0, (messages[-1], log[-2000:])
    assert messages[0]["type"] == "hello" and messages[0]["versions"]["huggingface_hub"]
    result: dict[str, Any] = messages[-1]["data"]
    return result


def failed(hub: Hub, cache: Path, settings: dict[str, Any] | None = None, **env: str) -> dict[str, Any]:
    code, messages, log = fetch(hub, cache, settings, **env)
    assert code == 3 and messages[-1]["type"] == "error", (messages[-1], log[-2000:])
    assert messages[-1]["code"] != "crashed", (messages[-1], log[-2000:])
    return messages[-1]


def partials(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.incomplete"))


WANTED = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.mark.slow
def test_download_with_progress_then_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    code, messages, log = fetch(hub, tmp_path / "hf")
    assert code == 0, log
    data = messages[-1]["data"]
    folder = Path(data["path"])
    assert sorted(path.name for path in folder.iterdir()) == WANTED
    assert data["revision"] == COMMIT
    assert data["bytes"] == sum(len(hub.files[name]) for name in WANTED)
    assert all((folder / name).read_bytes() == hub.files[name] for name in WANTED)
    assert read_model(folder).name == "tiny"
    progress = [entry for entry in messages if entry["type"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == data["bytes"]
    assert [entry["done"] for entry in progress] == sorted(entry["done"] for entry in progress)
    assert not partials(tmp_path / "hf")
    asked = {path.rsplit("/", 1)[1] for method, path, _ in hub.requests if "/resolve/" in path}
    assert asked == set(WANTED), "pickle files and code stay where they are"

    hub.requests.clear()
    assert fetched(hub, tmp_path / "hf") == data
    assert not [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]


@pytest.mark.slow
def test_connection_that_breaks_is_taken_up_in_the_same_run(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after["model.safetensors"] = [11 * 2**20, 1000]
    data = fetched(hub, tmp_path / "hf")
    assert (Path(data["path"]) / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    # huggingface_hub hands over pieces of 10 MiB; what came of the next one is asked for again.
    assert hub.ranges("model.safetensors") == ["", "bytes=10485760-", "bytes=10485760-"]


@pytest.mark.slow
def test_killed_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.stall_after["model.safetensors"] = 11 * 2**20
    process = start(hub, tmp_path / "hf")
    assert hub.stalled.wait(30)
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size >= 10 * 2**20 for path in partials(tmp_path / "hf")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    (partial,) = partials(tmp_path / "hf")
    begun = partial.stat().st_size
    assert not list((tmp_path / "hf").rglob("snapshots/*/model.safetensors"))

    hub.stall_after.clear()
    hub.release.set()
    hub.requests.clear()
    data = fetched(hub, tmp_path / "hf")
    assert hub.ranges("model.safetensors") == [f"bytes={begun}-"]
    assert (Path(data["path"]) / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert not partials(tmp_path / "hf")


@pytest.mark.slow
def test_damaged_download_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.damage = True
    error = failed(hub, tmp_path / "hf")
    assert error["code"] == "damaged-download" and "model.safetensors" in error["message"]
    assert not partials(tmp_path / "hf") and not list((tmp_path / "hf").rglob("snapshots/*/model.safetensors"))
    hub.damage = False
    assert fetched(hub, tmp_path / "hf")["revision"] == COMMIT


@pytest.mark.slow
def test_end_of_standard_input_ends_the_worker(hub: Hub, tmp_path: Path) -> None:
    hub.stall_after["model.safetensors"] = 1000
    process = start(hub, tmp_path / "hf")
    assert hub.stalled.wait(30)
    assert process.stdin
    process.stdin.close()
    assert process.wait(10) != 0
    for stream in (process.stdout, process.stderr):
        assert stream
        stream.close()


@pytest.mark.slow
def test_offline_with_a_complete_copy(hub: Hub, tmp_path: Path) -> None:
    data = fetched(hub, tmp_path / "hf")
    hub.requests.clear()
    again = fetched(hub, tmp_path / "hf", HF_HUB_OFFLINE="1")
    assert (again["path"], again["revision"]) == (data["path"], COMMIT)
    assert not hub.requests


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_without_a_copy(hub: Hub, tmp_path: Path, variable: str) -> None:
    fetched(hub, tmp_path / "hf")
    hub.requests.clear()
    error = failed(hub, tmp_path / "hf", {"repo_id": "org/other"}, **{variable: "1"})
    assert error["code"] == "offline" and variable in error["message"] and variable in error["hint"]
    assert "org/tiny" in error["cause"]
    error = failed(hub, tmp_path / "hf", {"revision": "v2"}, **{variable: "1"})
    assert "v2" in error["message"] and COMMIT in error["cause"]
    assert not hub.requests


@pytest.mark.slow
def test_offline_with_half_a_copy(hub: Hub, tmp_path: Path) -> None:
    (Path(fetched(hub, tmp_path / "hf")["path"]) / "model.safetensors").unlink()
    error = failed(hub, tmp_path / "hf", HF_HUB_OFFLINE="1")
    assert error["code"] == "offline" and "not complete" in error["message"] and "model.safetensors" in error["cause"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "header", "code", "words"),
    [
        (404, "RepoNotFound", "not-found", ("org/tiny", "private")),
        (401, "RepoNotFound", "not-found", ("org/tiny", "HF_TOKEN")),  # so the Hub says it without a token
        (401, "", "no-access", ("refuses access", "HF_TOKEN")),
        (403, "GatedRepo", "no-access", ("gated", "HF_TOKEN")),
        (401, "GatedRepo", "no-access", ("gated", "hf auth login")),
        (403, "", "no-access", ("refuses access", "HF_TOKEN")),
        (404, "RevisionNotFound", "not-found", ("no revision 'main'",)),
        (500, "", "network", ("HTTP 500", "Retry")),
    ],
)
def test_the_hub_refuses(hub: Hub, tmp_path: Path, status: int, header: str, code: str, words: tuple[str, ...]) -> None:
    hub.status, hub.error_code = status, header
    error = failed(hub, tmp_path / "hf")
    assert error["code"] == code, error
    text = " ".join([error["message"], error["cause"], error["hint"]])
    for word in words:
        assert word in text, text


@pytest.mark.slow
def test_no_network(hub: Hub, tmp_path: Path) -> None:
    error = failed(hub, tmp_path / "hf", HF_ENDPOINT="http://127.0.0.1:9")
    assert error["code"] == "network" and "127.0.0.1:9 cannot be reached" in error["message"]
    assert "proxy" in error["hint"]


@pytest.mark.slow
def test_endpoint_from_the_settings_wins(hub: Hub, tmp_path: Path) -> None:
    data = fetched(hub, tmp_path / "hf", {"endpoint": hub.url}, HF_ENDPOINT="http://127.0.0.1:9")
    assert data["revision"] == COMMIT


@pytest.mark.slow
def test_disk_full(hub: Hub, tmp_path: Path) -> None:
    """The kernel refuses to write on: a limit on file size stands in for the end of the disk."""
    spec = json.dumps({"protocol": 1, "worker": "models.fetch", "settings": {"repo_id": REPO}})
    code = (
        "import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20));"
        "runpy.run_module('workbench.workers.models.fetch', run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}, start_new_session=True,
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(spec.encode() + b"\n")
    process.stdin.flush()
    exit_code, messages, log = finish(process)
    assert exit_code == 3 and messages[-1]["code"] in ("disk-full", "os-error"), (messages[-1], log[-1000:])
    assert "file too large" in messages[-1]["cause"].lower()
    assert fetched(hub, tmp_path / "hf")["revision"] == COMMIT


def test_cache_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    error = failed(hub, tmp_path / "file" / "hf")
    assert error["code"] == "os-error" and str(tmp_path / "file") in error["cause"]


@pytest.mark.slow
def test_token_is_sent_and_never_said(hub: Hub, tmp_path: Path) -> None:
    code, messages, log = fetch(hub, tmp_path / "hf", HF_TOKEN=SECRET)
    assert code == 0 and f"Bearer {SECRET}" in hub.tokens
    hub.status, hub.error_code = 403, "GatedRepo"
    _, refused, more = fetch(hub, tmp_path / "hf2", HF_TOKEN=SECRET)
    assert SECRET not in json.dumps([messages, refused]) + log + more


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drop", "code_words"),
    [
        (["model.safetensors"], ("only pickle", "pytorch_model.bin")),
        (["model.safetensors", "pytorch_model.bin"], ("no safetensors",)),
        (["config.json"], ("no config.json",)),
    ],
)
def test_repository_without_what_is_needed(
    hub: Hub, tmp_path: Path, drop: list[str], code_words: tuple[str, ...]
) -> None:
    for name in drop:
        del hub.files[name]
    error = failed(hub, tmp_path / "hf")
    text = " ".join([error["message"], error["cause"], error["hint"]])
    assert error["code"] == "bad-model" and all(word in text for word in code_words), text
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


@pytest.mark.slow
def test_gguf_repository(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"model.gguf": b"GGUF", "README.md": b"x"}
    assert "GGUF" in failed(hub, tmp_path / "hf")["hint"]


@pytest.mark.parametrize("name", ["../../etc", "a/b/c", "", None, "org/na me"])
def test_bad_names(hub: Hub, tmp_path: Path, name: Any) -> None:
    assert failed(hub, tmp_path / "hf", {"repo_id": name})["code"] == "bad-settings"
    assert not hub.requests


@pytest.mark.slow
def test_custom_code_comes_only_when_asked_for(hub: Hub, tmp_path: Path) -> None:
    data = fetched(hub, tmp_path / "hf", {"trust_remote_code": True})
    assert (Path(data["path"]) / "modeling_x.py").exists()
    assert not (Path(data["path"]) / "pytorch_model.bin").exists()
