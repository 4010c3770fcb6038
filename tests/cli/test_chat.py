"""`workbench chat` as a person has it, on a terminal and through a pipe, with a host without an engine behind it."""

from __future__ import annotations

import codecs
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.command import ROOT, Ran, workbench
from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.fakes.models import make_real_tiny_folder
from workbench.cli.chat_commands import changed_sampling
from workbench.core.conversation import Conversation
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.messages import Sampling
from workbench.core.sampling_fields import BY_NAME, to_sampling
from workbench.store.conversations import Conversations

WAIT_S = 30.0
_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)

_A_MOMENT_S = 0.4
"""A person's reaction: between the prompt and the wait for keys the line editor does not hear a signal."""


class Terminal:
    """The command on a terminal of its own; `expect` waits for what a person would wait for."""

    def __init__(self, *args: str) -> None:
        self._master, own = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, sys.executable, "-m", "workbench", *args],
            stdin=own,
            stdout=own,
            stderr=own,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "INPUTRC": "/dev/null"},
            start_new_session=True,
        )
        os.close(own)
        self.seen = ""
        self._read = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._cut = ""

    def expect(self, text: str, timeout_s: float = WAIT_S) -> str:
        """Wait until it stands after all that was expected before; what came until its end."""
        end = time.monotonic() + timeout_s
        while (at := self.seen.find(text, self._read)) < 0:
            if time.monotonic() > end or not self._more(end - time.monotonic()):
                raise AssertionError(f"{text!r} never came; there was {self.seen[self._read :]!r}")
        found = self.seen[self._read : at + len(text)]
        self._read = at + len(text)
        return found

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def say(self, line: str) -> None:
        self.expect("> ")
        self.send(line + "\r")

    def end(self, timeout_s: float = WAIT_S) -> int:
        """Wait until it has ended; its exit code."""
        deadline = time.monotonic() + timeout_s
        while self._more(max(0.0, deadline - time.monotonic())):
            pass
        assert "Traceback" not in self.seen, self.seen
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        os.close(self._master)

    def _more(self, timeout_s: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, timeout_s))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        # A read may end in the middle of a character or of an escape: what is not whole yet waits for the next one.
        text = self._cut + self._decoder.decode(data)
        begun = re.search(r"\x1b(\[[0-9;?]*)?$", text)
        self._cut = begun[0] if begun else ""
        self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.removesuffix(self._cut))
        return bool(data)


@pytest.fixture
def engine(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes the engine's folder on the first call; each call says how its host behaves from the next load on."""
    python, folder = tmp_path / "python", tmp_path / "tiny"
    monkeypatch.setenv(VARIABLE, str(python))

    def make(**settings: Any) -> str:
        make_interpreter(python, **settings)
        if not folder.exists():
            make_engine_folder(folder)
        return str(folder)

    return make


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*args: str) -> Terminal:
        opened.append(Terminal("chat", *args))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def piped(text: str | bytes, *args: str) -> Ran:
    ran = subprocess.run(
        [sys.executable, "-m", "workbench", "chat", *args],
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, "COLUMNS": "200"},
    )
    out, err = ran.stdout.decode(), ran.stderr.decode()
    assert "Traceback" not in out + err, err
    return Ran(ran.returncode, out, err)


def kept(home: Home) -> Conversation:
    return Conversations(home).find("last")


def texts(conversation: Conversation) -> list[str]:
    return [turn.text for turn in conversation.path()]


# On a terminal


@pytest.mark.slow
def test_an_answer_streams_and_ctrl_c_stops_it_alone(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal]
) -> None:
    term = terminal(engine(tokens_per_s=20, kv_blocks=64), "--temperature", "0")
    term.expect("tiny-int8 (OpenVINO GenAI, int8) loaded")
    term.say("hello")
    began = time.monotonic()
    term.expect("one two three one")
    assert time.monotonic() - began < 5, "512 tokens would take 25 s: it shows them as they come"
    pressed = time.monotonic()
    term.send("\x03")
    line = term.expect("stopped by you")
    assert time.monotonic() - pressed < 1.5
    term.expect("KV 1 of 10 blocks")
    assert re.search(r"TTFT \d+ ms · speed [\d.]+ tok/s · in 3 tokens · out \d+ tokens · ", line)
    # It goes on, and Ctrl+C at the prompt leaves only at the second time.
    term.say("/set max_tokens 3")
    term.expect("Sampling: greedy, at most 3 tokens.")
    term.say("again")
    term.expect("one two three ")
    term.expect("out 3 tokens · stopped by the limit of 3 tokens")
    term.expect("cut at 3 tokens. /set max_tokens 6 and /regenerate")
    term.expect("> ")
    time.sleep(_A_MOMENT_S)
    term.send("\x03")
    term.expect("/quit or Ctrl+C again leaves.")
    term.expect("> ")
    time.sleep(_A_MOMENT_S)
    term.send("\x03")
    assert term.end() == 0
    stored = kept(home)
    assert [turn.role for turn in stored.path()] == ["user", "assistant"] * 2
    stopped, cut = stored.path()[1], stored.path()[3]
    assert stopped.text.startswith("one two three one") and stopped.answer is not None and cut.answer is not None
    assert stopped.answer.reason == "abort" and cut.answer.reason == "length" and cut.text == "one two three "
    assert stopped.answer.text == stopped.text and stopped.answer.output_tokens == len(stopped.answer.pieces) > 3
    assert stopped.answer.engine is not None and stopped.answer.engine.precision == "int8"
    assert stored.id in term.seen and stored.shown_title == "hello"


@pytest.mark.slow
def test_commands_edit_regenerate_save_and_begin_anew(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    term = terminal(engine(), "--max-tokens", "2", "--system", "be kind", "--temperature", "0")
    term.say("/help")
    term.expect("/regenerate")
    term.say("/regenerate")
    term.expect("There is no answer to make again yet.")
    term.say("frist")
    term.expect("out 2 tokens")
    term.say("/edit first")
    term.expect("out 2 tokens")
    term.say("/regenerate")
    term.expect("Sampling is greedy")
    term.expect("out 2 tokens")
    term.say("/system")
    term.expect("be kind")
    term.say("/set temperature 11")
    term.expect("error: temperature cannot be '11'.")
    term.expect("less than or equal to 10")
    term.say("/set colour 1")
    term.expect("no sampling setting 'colour'")
    term.say("/set seed")
    term.expect("/set temperature 0.7")
    term.say("/set")
    shown = term.expect("logprobs             off")
    assert "repetition_penalty   default" in shown and "stop                 none" in shown
    assert "ignore_eos           off" in shown and "temperature          0\r\n" in shown
    term.say('/set stop ["a b", "c"]')
    term.say("/set ignore_eos on")
    term.expect("end of sequence ignored")
    term.say("/set")
    shown = term.expect("logprobs             off")
    assert "stop                 'a b', 'c'" in shown and "ignore_eos           on" in shown
    term.say("/set stop none")
    term.say("/set ignore_eos off")
    term.expect("Sampling: greedy, at most 2 tokens.")
    for name in ("chat.md", "chat.json"):
        term.say(f"/save {tmp_path / name}")
        term.expect(f"saved {tmp_path / name}")
    term.say(f"/save {tmp_path / 'chat.md'}")
    term.expect("saved", 5)  # its own file
    term.say(f"/save {tmp_path / 'tiny' / 'provenance.json'}")
    term.expect("is there already")
    term.say("/save chat.doc")
    term.expect("End its name with .md or .json.")
    term.say("/nothing")
    term.expect("There is no command /nothing.")
    term.say("/stats")
    term.expect("KV blocks used               not reported")
    term.expect("tokens answered here         2 in 1 answer")
    term.say("//etc")
    term.expect("out 2 tokens")
    first = kept(home)
    assert texts(first) == ["first", "one two ", "/etc", "one two "] and first.system == "be kind"
    assert [turn.text for turn in first.siblings("t1")] == ["frist", "first"] and len(first.siblings("t4")) == 2
    exported = Conversation.from_json((tmp_path / "chat.json").read_bytes())
    assert (
        exported.path() == first.path("t5") and "1 other version of this message" in (tmp_path / "chat.md").read_text()
    )
    term.say("/raw")
    term.expect("Raw completion")
    term.say("bad")
    term.expect("error: The prompt is bad")
    term.say("Once upon")
    term.expect("out 2 tokens")
    raw = kept(home)
    assert raw.mode == "raw" and raw.id != first.id and texts(raw) == ["Once upon", "one two "]
    term.say("/quit")
    assert term.end() == 0


@pytest.mark.slow
def test_several_lines_history_and_continue(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal]
) -> None:
    folder = engine()
    term = terminal(folder, "--max-tokens", "1")
    term.say("one \\")
    term.expect("… ")
    term.send("two\r")
    term.expect("out 1 token")
    term.say('"""')
    term.send("three\r\rfour\r")
    term.send('five"""\r')
    term.expect("out 1 token")
    term.expect("> ")
    term.send("\x04")
    assert term.end() == 0
    stored = kept(home)
    assert texts(stored) == ["one \ntwo", "one ", "three\n\nfour\nfive", "one "]
    history = home.root / "chat-history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600 and "three" in history.read_text()
    term = terminal(folder, "--continue", "--max-tokens", "1")
    term.expect("Going on with “one two”, 4 turns.")
    term.expect("> ")
    term.send("\x1b[A\x1b[A\r")  # two lines up in the history: `four`
    term.expect("out 1 token")
    term.say("/quit")
    assert term.end() == 0
    assert texts(kept(home)) == [*texts(stored), "four", "one "]


@pytest.mark.slow
def test_a_dead_host_leaves_what_came_and_is_loaded_again(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal]
) -> None:
    term = terminal(engine(die_after=2, tokens_per_s=50), "--max-tokens", "5")
    term.say("hello")
    term.expect("one two ")
    term.expect("stopped by a failure")
    term.expect("error: ")
    term.expect("Seen: ")
    term.expect("/reload loads the engine again.")
    half = kept(home)
    assert texts(half) == ["hello", "one two "]
    assert half.path()[1].answer is not None and half.path()[1].answer.failure is not None
    term.expect("> ")
    assert "What came of the answer is kept." in term.seen
    after = len(term.seen)
    term.send("still there?\r")
    term.expect("/reload loads the engine again.")
    term.say("/save")
    term.expect("Give a file to save to.")
    engine(fail_load="no room")
    term.say("/reload")
    term.expect("no room")
    term.say("/set colour 1")
    term.expect("no sampling setting 'colour'")
    term.expect("> ")
    assert "What came of the answer" not in term.seen[after:], "nothing of an answer came of these"
    term.send("\r")
    engine()
    term.say("/reload precision.weights=int4")
    term.expect("fixed in a built engine")
    term.say("/reload runtime.kv_blocks=64")
    term.expect("loaded")
    term.say("/regenerate")
    term.expect("out 5 tokens")
    term.say("/quit")
    assert term.end() == 0
    again = kept(home)
    # The message that could not be sent stays, and is what was answered at last.
    assert texts(again) == ["hello", "one two ", "still there?", "one two three one two "]


@pytest.mark.slow
def test_a_reload_that_cannot_be_leaves_the_engine_that_runs(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal]
) -> None:
    term = terminal(engine(fail_with_blocks=77), "--max-tokens", "2")
    term.expect("loaded")
    term.expect("> ")

    def hosts() -> list[int]:
        return [child.pid for child in psutil.Process(term.process.pid).children()]

    running = hosts()
    assert len(running) == 1
    term.send("/reload runtime.kv_cache_gib=16000\r")
    refused = term.expect("To do: ")
    assert "does not fit into host memory: it takes at least 15.6 TiB" in refused and "are free" in refused
    for wrong, words in {
        "runtime.kv_blocs=3": "error: runtime.kv_blocs is not a preset key. Nearest: runtime.kv_blocks",
        "runtime.kv_blocks=many": 'error: runtime.kv_blocks is "many" (text), but must be a whole number',
        "runtime.kv_blocks": "error: runtime.kv_blocks: not key=value.",
        "64": "error: “64” is no setting of an engine.",
        "colour.sky=blue": "error: “colour.sky” is no setting of an engine.",
        "precision.weights=int4": "error: precision.weights is fixed in a built engine.",
    }.items():
        term.say(f"/reload {wrong}")
        term.expect(words)
    assert hosts() == running, "it runs on"
    term.say("still there?")
    term.expect("out 2 tokens")
    # A load that fails all the same: the settings before are loaded again.
    term.say("/reload runtime.kv_blocks=77")
    term.expect("error: the pool is no good")
    term.expect("The engine is loaded again with the settings before.")
    assert len(hosts()) == 1 and hosts() != running
    term.say("and now?")
    term.expect("out 2 tokens")
    term.say("/reload runtime.kv_blocks=78")
    term.expect("loaded")
    term.say("/reload")  # what failed is not among the settings
    term.expect("loaded")
    # Nor does an engine whose host can no longer be started take the words with it.
    engine(fail_load="no room")
    term.say("/reload runtime.kv_blocks=79")
    term.expect("error: no room")
    term.expect("could not be loaded again either")
    engine()
    term.say("/reload")
    term.expect("loaded")
    engine(never_ready=True)
    term.say("/reload")
    term.expect("Loading the engine …")
    time.sleep(0.5)
    term.send("\x03")
    term.expect("Loading the engine was stopped. No engine is loaded now; /reload loads it.")
    term.say("/quit")
    assert term.end() == 0
    assert "--set" not in term.seen and "fixed in a built engine" in term.seen
    assert texts(kept(home))[::2] == ["still there?", "and now?"]


@pytest.mark.slow
def test_an_engine_that_does_not_stop_is_ended_by_a_second_ctrl_c(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal]
) -> None:
    term = terminal(engine(go_silent_after=2))
    term.say("hello")
    term.expect("one two ")
    term.send("\x03")
    time.sleep(0.3)
    term.send("\x03")
    term.expect("stopped by you")
    term.expect("/reload loads it again.")
    term.say("/quit")
    assert term.end() == 0
    answer = kept(home).path()[1].answer
    assert answer is not None and answer.reason == "abort" and answer.text == "one two "


@pytest.mark.slow
def test_a_closed_terminal_keeps_what_came_and_ends_the_host(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal]
) -> None:
    term = terminal(engine(tokens_per_s=20))
    term.say("hello")
    term.expect("one two three ")
    hosts = psutil.Process(term.process.pid).children(recursive=True)
    assert hosts
    term.process.send_signal(signal.SIGHUP)
    assert term.end() == 128 + signal.SIGHUP
    psutil.wait_procs(hosts, 10)
    assert not [host for host in hosts if host.is_running() and host.status() != psutil.STATUS_ZOMBIE]
    turn = kept(home).path()[1]
    assert turn.text.startswith("one two three ") and turn.answer is not None and turn.answer.reason == "abort"


@pytest.mark.slow
def test_ctrl_c_while_loading_leaves(engine: Callable[..., str], terminal: Callable[..., Terminal]) -> None:
    term = terminal(engine(never_ready=True))
    term.expect("Loading the engine …")
    time.sleep(0.5)
    term.send("\x03")
    assert term.end(10) == 5


@pytest.mark.slow
def test_what_an_answer_holds_cannot_steer_the_terminal(
    home: Home, engine: Callable[..., str], terminal: Callable[..., Terminal]
) -> None:
    answer = ["\x1b]52;c;aGk=\x07", "a\r\nb\u009b2J", "\t\u05e9\u05dc"]
    term = terminal(engine(answer=answer), "--max-tokens", "3")
    term.say("hello")
    term.expect("␛]52;c;aGk=␇a\r\nb\ufffd2J")
    term.expect("\u05e9\u05dc")
    term.say("/quit")
    assert term.end() == 0
    assert kept(home).path()[1].text == "".join(answer), "what is kept is what came"


# Through a pipe


def test_help_has_examples() -> None:
    ran = workbench("chat", "--help")
    assert ran.code == 0 and "workbench chat last --continue" in ran.out and "--json" in ran.out
    said = " ".join(ran.out.replace("│", " ").split())
    assert f"{BY_NAME['temperature'].start:g} with top-p {BY_NAME['top_p'].start:g}" in said
    assert "an unknown /command is sent as it is" in said


@pytest.mark.slow
def test_an_unknown_command_in_a_pipe_is_a_message(home: Home, engine: Callable[..., str]) -> None:
    ran = piped("/nope what\n/system short\n/etc/hosts\n//quit\n/\n/quit\nnever\n", engine(), "--max-tokens", "1")
    assert ran.code == 0 and ran.out == "one \n" * 4 and "error" not in ran.err, ran.err
    stored = kept(home)
    assert texts(stored)[::2] == ["/nope what", "/etc/hosts", "/quit", "/"] and stored.system == "short"


@pytest.mark.slow
def test_sampling_begins_as_in_the_window(home: Home, engine: Callable[..., str]) -> None:
    lines, folder = "hello\n", engine()

    def used(*args: str) -> Sampling:
        assert piped(lines, folder, *args).code == 0
        answer = kept(home).path()[-1].answer
        assert answer is not None
        return answer.sampling

    assert used() == to_sampling({name: field.start for name, field in BY_NAME.items()})
    assert used("--temperature", "0", "--max-tokens", "3") == Sampling(max_tokens=3)
    assert used("--temperature", "1.5", "--max-tokens", "3") == Sampling(max_tokens=3, temperature=1.5, top_p=0.95)
    assert piped(lines, folder, "--temperature", "nan").code == 2
    engine(takes=["max_tokens", "temperature"])
    assert used("--max-tokens", "3") == Sampling(max_tokens=3, temperature=0.7)


@pytest.mark.slow
def test_a_pipe_gives_answers_alone(home: Home, engine: Callable[..., str]) -> None:
    lines = 'hello\n\n  \r\nand \\\r\n/system be short\n"""\nmany\nlines\n"""\n'
    ran = piped(lines, engine(kv_blocks=64), "--max-tokens", "2")
    assert ran.code == 0, ran.err
    assert ran.out == "one two \n" * 3
    assert ran.err.count("TTFT") == 3 and ran.err.count("cut at 2 tokens") == 3 and "> " not in ran.err
    stored = kept(home)
    assert texts(stored)[::2] == ["hello", "and \\", "many\nlines"] and stored.system == "be short"
    again = piped("more", "tiny", "--continue", stored.id[-8:])
    assert again.code == 2 and "No engine is called" in again.err
    again = piped("more", engine(), "--max-tokens", "1", "--continue", stored.id[-8:])
    assert again.code == 0 and texts(kept(home)) == [*texts(stored), "more", "one "]


@pytest.mark.slow
def test_json_is_one_object_a_turn(home: Home, engine: Callable[..., str]) -> None:
    ran = piped("hello\n/raw\nbad\nOnce\n", engine(kv_blocks=64), "--max-tokens", "3", "--json")
    assert ran.code == 2, "the first failure decides"
    first, bad, once = (json.loads(line) for line in ran.out.splitlines())
    assert (first["message"], first["answer"], first["reason"]) == ("hello", "one two three ", "length")
    assert (first["input_tokens"], first["output_tokens"], first["count_source"]) == (3, 3, "engine ids")
    assert first["ttft_ms"] > 0 and first["latency_ms"] >= first["ttft_ms"] and first["kv_blocks_used"] == 1
    assert bad["failure"]["what"] == "the prompt is bad" and bad["ttft_ms"] is None and bad["reason"] == "error"
    assert once["failure"] is None and once["conversation"] != first["conversation"]
    assert "TTFT" not in ran.err


@pytest.mark.slow
def test_hard_lines_come_through(home: Home, engine: Callable[..., str]) -> None:
    long = "é" * 1_000_000
    lines = (
        b"a\0b\nhalf \xff a character\n"
        + "👩\u200d👧 \u202e\u05e9\u05dc\u05d5\u05dd\u2028x\n".encode()
        + long.encode()
        + b"\n"
    )
    ran = piped(lines, engine(), "--max-tokens", "1")
    assert ran.code == 0 and ran.out == "one \n" * 4, ran.err
    assert texts(kept(home))[::2] == [
        "a\0b",
        "half \ufffd a character",
        "👩\u200d👧 \u202e\u05e9\u05dc\u05d5\u05dd\u2028x",
        long,
    ]


@pytest.mark.slow
def test_ctrl_c_ends_a_pipe_and_keeps_what_came(home: Home, engine: Callable[..., str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "workbench", "chat", engine(tokens_per_s=20)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(b"hello\nnever asked\n")
        process.stdin.flush()
        assert os.read(process.stdout.fileno(), 100).startswith(b"one ")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 5
        errors = process.stderr.read().decode()
    assert "stopped by you" in errors and "cancelled" in errors and "Traceback" not in errors
    assert texts(kept(home))[0] == "hello" and len(kept(home).turns) == 2


@pytest.mark.slow
def test_a_host_that_dies_ends_a_pipe(home: Home, engine: Callable[..., str]) -> None:
    ran = piped("hello\nnever asked\n", engine(die_after=2), "--json")
    assert ran.code == 4 and ran.err.count("error: ") == 1
    (only,) = (json.loads(line) for line in ran.out.splitlines())
    assert only["answer"] == "one two " and only["failure"]["code"] == "killed"
    assert texts(kept(home)) == ["hello", "one two "]


@pytest.mark.slow
def test_what_cannot_be_is_said_before_anything_is_loaded(home: Home, engine: Callable[..., str]) -> None:
    folder = engine(fail_load="no room")
    assert workbench("chat", "nothing").code == 2
    none = workbench("chat", folder, "--continue")
    assert none.code == 2 and "no conversation 'last'" in none.err and "none was kept yet" in none.err
    zero = workbench("chat", folder, "--max-tokens", "0")
    assert zero.code == 2
    failed = workbench("chat", folder)
    assert failed.code == 4 and "no room" in failed.err and "the hint" in failed.err
    assert not (home.root / "conversations").exists()


# With a real engine


@pytest.mark.slow
def test_a_real_engine_talks_and_refuses_what_is_too_long(home: Home, tmp_path: Path) -> None:
    model, out = make_real_tiny_folder(tmp_path / "tiny"), tmp_path / "engine"
    any_quality = ["--set", "verify.min_agreement=0", "--set", "verify.max_kl=100"]
    built = workbench("build", "cpu-int8", "--model", str(model), "--out", str(out), *any_quality)
    assert built.code == 0, built.err
    lines = f"hello\n{'hello ' * 5000}\n/set temperature 0.7\n/set seed 3\nagain\n"
    pool = ["--set", "runtime.kv_cache_gib=none", "--set", "runtime.kv_blocks=16"]
    ran = piped(lines, str(out), "--max-tokens", "6", "--system", "be short", "--json", *pool)
    hello, refused, again = (json.loads(line) for line in ran.out.splitlines())
    assert ran.code == 2 and hello["failure"] is None and again["failure"] is None, ran.err
    assert re.search(r"prompt is [\d,]{5,} tokens and the .* [\d,]+", refused["failure"]["what"])
    assert 0 < hello["output_tokens"] <= 6 and hello["ttft_ms"] > 0
    assert again["input_tokens"] > hello["input_tokens"], "the turn before is sent, and the refused one is not"
    assert again["input_tokens"] < 200 and again["kv_blocks_total"] == 16
    assert again["kv_blocks_used"] is None or 0 < again["kv_blocks_used"] <= 16, "a short answer may be over too soon"
    stored = kept(home)
    assert [turn.text for turn in stored.sent()] == ["hello", hello["answer"], "again", again["answer"]]
    answer = stored.path()[-1].answer
    assert answer is not None and answer.sampling.seed == 3 and answer.engine is not None
    assert answer.engine.toolchain == "OpenVINO GenAI" and len(answer.ids) == again["output_tokens"]


# Settings


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.7", 0.7),
        ("top_k", "40", 40),
        ("top_k", "none", None),
        ("max_tokens", "default", 128),
        ("seed", "-3", -3),
        ("ignore_eos", "true", True),
        ("stop", "###", ("###",)),
        ("stop", '["a\\n", "b"]', ("a\n", "b")),
        ("stop", '"x y"', ("x y",)),
        ("stop", "none", ()),
    ],
)
def test_a_setting_is_read_as_it_is_written(name: str, text: str, value: object) -> None:
    before = Sampling(top_k=5, max_tokens=7, stop=("z",))
    changed = changed_sampling(before, name, text)
    assert getattr(changed, name) == value
    assert changed.model_dump(exclude={name}) == before.model_dump(exclude={name})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "-1"),
        ("temperature", "nan"),
        ("repetition_penalty", "inf"),
        ("top_p", "0"),
        ("top_p", "1.5"),
        ("top_k", "1.5"),
        ("max_tokens", "0"),
        ("max_tokens", "many"),
        ("stop", '["a"'),
        ("stop", "[1]"),
        ("logprobs", "perhaps"),
        ("runtime.kv_blocks", "64"),
    ],
)
def test_a_value_out_of_range_is_said_in_words(name: str, text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        changed_sampling(Sampling(), name, text)
    assert name in caught.value.what and (caught.value.evidence or caught.value.fix)
