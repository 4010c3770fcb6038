"""`workbench endpoint` as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import ROOT, Ran, workbench
from tests.fakes.file_keyring import BACKEND, VARIABLE
from tests.fakes.openai_server import Behaviour, serving

KEY = "sk-hunter2"
FAST = Behaviour(ttft_s=0.0, itl_s=0.001)


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ring.json"
    monkeypatch.setenv(VARIABLE, str(path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", BACKEND)
    return path


def piped(text: str, *args: str) -> Ran:
    """The command with `text` on its standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *args],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_from_add_to_remove_with_a_key_in_the_keyring(ring: Path, tmp_path: Path) -> None:
    with serving(FAST, key=KEY) as server:
        added = piped(f"{KEY}\n", "endpoint", "add", "box", "--url", server.url, "--model", "mock", "--key-keyring")
        assert added.code == 0, added.err
        assert "the test's keyring" in added.out and not server.served
        assert KEY in ring.read_text()
        tested = workbench("endpoint", "test", "box")
        assert tested.code == 0, tested.out + tested.err
        for words in ("/v1/models: 200", "runs vLLM", "chat", "completions", "metrics", "box works"):
            assert words in tested.out
        asked = workbench("prompt", "box", "hello", "--max-tokens", "3", "--json")
        assert asked.code == 0, asked.err
        assert asked.json["answer"] == " the quick fox"
        listed = workbench("endpoint", "--json")
        assert [row["name"] for row in listed.json] == ["box"]
        assert listed.json[0]["key"] == {"source": "keyring", "name": "box"}
        everything = added.out + added.err + tested.out + tested.err + asked.out + asked.err + listed.out
        assert KEY not in everything
        for path in (tmp_path / "home").rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
        removed = workbench("endpoint", "remove", "box", "--yes")
        assert removed.code == 0 and "and its key" in removed.out
        assert KEY not in ring.read_text()
        assert "No endpoint was added yet" in workbench("endpoint", "list").out


@pytest.mark.slow
def test_a_refused_key_is_said_without_the_key(ring: Path) -> None:
    with serving(FAST, key="another") as server:
        added = workbench("endpoint", "add", "box", "--url", server.url, "--model", "mock", "--key-env", "BOX_KEY")
        assert added.code == 0 and "BOX_KEY is not set now" in added.err
        tested = workbench("endpoint", "test", "box", "--json", env={"BOX_KEY": KEY})
    assert tested.code == 4
    assert tested.json["ok"] is False and tested.json["error"]["code"] == "endpoint-key"
    assert "refuses the key" in tested.err
    assert KEY not in tested.out + tested.err


@pytest.mark.slow
def test_what_is_not_offered_is_no_fault() -> None:
    with serving(Behaviour(ttft_s=0, itl_s=0.001, usage=False), metrics="") as server:
        workbench("endpoint", "add", "box", "--url", server.url, "--model", "mock")
        tested = workbench("endpoint", "test", "box", "--json")
    assert tested.code == 0, tested.err
    rows = {row["check"]: row for row in tested.json["checks"]}
    assert rows["counting"]["ok"] is None and rows["metrics"]["ok"] is None
    assert "counted by nothing" in rows["chat"]["detail"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--url", "ftp://x"), "base url cannot be used"),
        (("--url", "http://me:hunter2@x"), "holds a user or a password"),
        (("--url", "http://x", "--api", "both"), "api cannot be used"),
        (("--url", "http://x", "--key-env", "sk-hunter2"), "takes the name of an environment variable"),
        (("--url", "http://x", "--key-env", "A", "--no-key"), "Only one of"),
        (("--url", "http://x", "--ca-file", "/nowhere.pem"), "authorities cannot be used"),
        (("--url", "http://x", "--tokenizer", "/nowhere"), "no tokenizer"),
    ],
)
def test_bad_input(tmp_path: Path, args: tuple[str, ...], word: str) -> None:
    ran = workbench("endpoint", "add", "box", "--model", "m", *args)
    assert ran.code == 2
    assert word in ran.err and "hunter2" not in ran.err
    assert not list((tmp_path / "home" / "artifacts").rglob("*.json"))


@pytest.mark.slow
def test_nobody_to_ask_and_no_such_endpoint() -> None:
    assert workbench("endpoint", "add", "box", "--url", "http://x", "--model", "m").code == 0
    again = workbench("endpoint", "add", "box", "--url", "http://x", "--model", "m")
    assert again.code == 2 and "already" in again.err
    assert workbench("endpoint", "remove", "box").code == 2
    key = workbench("endpoint", "key", "box")
    assert key.code == 2 and "not kept in the keyring" in key.err
    for command in ("test", "key", "remove"):
        missing = workbench("endpoint", command, "none")
        assert missing.code == 2 and "No endpoint is called" in missing.err
