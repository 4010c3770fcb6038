"""Steps over a real sshd: whole, cut in the middle, cancelled, and picked up by the next relay."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.sshd import Sshd
from tests.remote.relays import ROOT, Relay, processes_below, scripted, wait_until
from workbench.core.messages import Sampling, StepSpec
from workbench.jobs.engine import EngineClient, HostCommand

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


def seen_there(path: Path) -> str:
    """A file of the test's as the worker is told it, whose folder is the run's: it is no file to be sent."""
    return f"../../../../{path.name}"


def runs(sshd: Sshd) -> list[str]:
    folder = sshd.folder / "far" / "runs"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_a_step_runs_there_and_its_output_comes_back_with_the_names_of_here(
    sshd: Sshd, code: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.bin").write_bytes(os.urandom(3_000_000))
    (model / "link.bin").symlink_to(model / "weights.bin")
    output = tmp_path / "made.0a1b2c3d.partial"
    far = f"{sshd.folder}/far"
    spec = scripted(
        ["phase", "read", 1, 2],
        ["log", f"into {output}"],
        ["flood", 1000],
        ["write", "a/w.bin", "x", 200_000],
        ["write", "note.json", f'{{"model": "{model}"}}'],
        output=output,
        model=model,
    )
    with Relay(sshd.target(), code, spec) as relay:
        assert relay.end() == 0, (relay.messages, relay.raw)
        assert relay.phases() == ["connect", "send", "read", "fetch"]
        assert [(m["index"], m["of"]) for m in relay.of("phase")] == [(1, 2), (2, 2), (3, 5), (5, 5)]
        assert relay.of("result")[0]["data"] == {"actions": 5} and relay.messages[-1]["type"] == "result"
        assert f"into {output}" in relay.logs() and far not in " ".join(relay.logs()[1:])
        assert relay.raw.count(b"of raw output\n") == 1000
        sent = [m for m in relay.of("progress") if m["total"] == 6_000_000]
        assert sent and sent[-1]["done"] == 6_000_000  # a link is followed: its file is sent
    assert (output / "a" / "w.bin").read_bytes() == b"x" * 200_000
    assert (output / "note.json").read_text() == f'{{"model": "{model}"}}'
    assert not runs(sshd) and not processes_below(far)
    assert [p.stat().st_mode & 0o077 for p in (sshd.folder / "far" / "runs", sshd.folder / "far")] == [0, 0]


def test_a_cut_connection_loses_nothing_and_tells_nothing_twice(sshd: Sshd, code: Path, tmp_path: Path) -> None:
    output, gate = tmp_path / "made", tmp_path / "gate"
    numbered = [[["log", f"message {n}"], ["flood", 50]] for n in range(60)]
    first = [action for pair in numbered[:20] for action in pair]
    rest = [action for pair in numbered[20:] for action in pair]
    spec = scripted(
        ["phase", "convert", 1, 1],
        *first,
        ["wait_for", seen_there(gate)],
        *rest,
        ["write", "w.bin", "x", 1000],
        output=output,
    )
    with Relay(sshd.target(), code, spec) as relay:
        wait_until(lambda: "message 19" in relay.logs(), words=lambda: relay.messages)
        sshd.stop()
        wait_until(lambda: "convert (connection lost)" in relay.phases(), words=lambda: relay.messages)
        gate.touch()
        worked = sshd.folder / "far" / "runs"
        wait_until(lambda: list(worked.glob("*/exit.json")))  # it goes on, and ends, with nobody connected
        sshd.start()
        assert relay.end() == 0, (relay.messages, relay.raw)
        told = [text for text in relay.logs() if text.startswith("message ")]
        assert told == [f"message {n}" for n in range(60)]
        assert relay.raw.count(b"line 0 of raw output\n") == 60 and relay.raw.count(b"line 49 of raw output\n") == 60
        assert relay.phases()[-2:] == ["convert", "fetch"]
        assert any("was cut" in text and "goes on there" in text for text in relay.logs())
    assert (output / "w.bin").stat().st_size == 1000 and not runs(sshd)


def test_sessions_killed_again_and_again_while_it_talks(sshd: Sshd, code: Path) -> None:
    spec = scripted(*[action for n in range(60) for action in (["log", f"message {n}"], ["sleep", 0.03])])
    with Relay(sshd.target(), code, spec) as relay:
        for told in (5, 30):
            wait_until(lambda told=told: f"message {told}" in relay.logs(), words=lambda: relay.messages)
            assert sshd.cut()
        assert relay.end() == 0, (relay.messages, relay.raw)
        assert [t for t in relay.logs() if t.startswith("message ")] == [f"message {n}" for n in range(60)]
        assert sum("was cut" in text for text in relay.logs()) >= 1


def test_a_cancel_that_reaches_nobody_says_so_in_time(sshd: Sshd, code: Path) -> None:
    with Relay(sshd.target(), code, scripted(["log", "at work"], ["sleep", 600])) as relay:
        wait_until(lambda: "at work" in relay.logs(), words=lambda: (relay.messages, relay.raw))
        sshd.stop()
        wait_until(lambda: any("Still no connection" in text for text in relay.logs()), words=lambda: relay.messages)
        began = time.monotonic()
        os.killpg(relay.process.pid, signal.SIGTERM)
        assert relay.end() == 3 and time.monotonic() - began < 6.0
        assert any("could not be reached" in text and "12 h" in text for text in relay.logs())
    assert processes_below(f"{sshd.folder}/far/runs") and len(runs(sshd)) == 1


def test_the_next_relay_picks_up_what_a_killed_one_left(sshd: Sshd, code: Path, tmp_path: Path) -> None:
    counter, gate, reached = tmp_path / "counter", tmp_path / "gate", tmp_path / "reached"
    actions = [
        ["append", seen_there(counter), "ran"],
        ["log", "early"],
        ["touch", seen_there(reached)],
        ["wait_for", seen_there(gate)],
    ]
    actions += [["write", "w", "x"], ["log", "late"]]
    with Relay(sshd.target(), code, scripted(*actions, output=tmp_path / "made.11111111.partial")) as relay:
        wait_until(reached.exists, words=lambda: (relay.messages, relay.raw))
        relay.process.kill()
        relay.end()
    assert len(runs(sshd)) == 1
    # The retried job fills another folder, which will get the same name.
    # Two of them follow one run: both get what it makes.
    partials = [tmp_path / f"made.{number}.partial" for number in ("22222222", "33333333")]
    with (
        Relay(sshd.target(), code, scripted(*actions, output=partials[0])) as relay,
        Relay(sshd.target(), code, scripted(*actions, output=partials[1])) as other,
    ):
        for one in (relay, other):
            wait_until(lambda one=one: "early" in one.logs(), words=lambda one=one: (one.messages, one.raw))
        gate.touch()
        for one in (relay, other):
            assert one.end() == 0, one.messages
            assert any("picked up" in text for text in one.logs())
            assert one.logs().count("early") == one.logs().count("late") == 1
    assert counter.read_text() == "ran\n" and all((partial / "w").is_file() for partial in partials)
    assert not runs(sshd)


def test_what_a_step_made_there_is_not_sent_back_for_the_next(sshd: Sshd, code: Path, tmp_path: Path) -> None:
    made = tmp_path / "checkpoint-abc"
    partial = tmp_path / "checkpoint-abc.33333333.partial"
    with Relay(sshd.target(), code, scripted(["write", "w.bin", "x", 2_000_000], output=partial)) as relay:
        assert relay.end() == 0, relay.messages
    partial.rename(made)
    (made / "provenance.json").write_text("{}")
    with Relay(sshd.target(), code, scripted(["log", "ok"], checkpoint=made)) as relay:
        assert relay.end() == 0, relay.messages
    there = list((sshd.folder / "far" / "inputs").glob("checkpoint-abc-*/w.bin"))
    assert len(there) == 1 and there[0].stat().st_nlink == 2  # one file with two names


def test_a_shared_folder_is_used_as_it_is(sshd: Sshd, code: Path, tmp_path: Path) -> None:
    output = tmp_path / "made"
    with Relay(sshd.target(shared=True), code, scripted(["write", "w", "x"], output=output)) as relay:
        assert relay.end() == 0, relay.messages
        assert relay.phases() == ["connect"]
    assert (output / "w").read_text() == "x"
    assert [path.name for path in (sshd.folder / "far").iterdir()] == ["runs"] and not runs(sshd)


def test_a_worker_that_fails_there_is_told_as_one_here(sshd: Sshd, code: Path) -> None:
    with (
        Relay(sshd.target(), code, scripted(["log", "before"], ["error", "no good"])) as failing,
        Relay(sshd.target(), code, scripted(["log", "before"], ["rubbish"])) as talking,
    ):
        assert failing.end() == talking.end() == 3
        assert "before" in failing.logs() and "before" in talking.logs()
        assert failing.error()["code"] == "planned" and failing.error()["message"] == "no good"
        assert talking.error()["code"] == "rubbish" and "this is not a message" in talking.error()["cause"]
    assert not runs(sshd)


def refused(sshd: Sshd, code: Path, *options: str, **fields: object) -> dict[str, str]:
    with Relay(sshd.target(**fields), code, scripted(["log", "never"]), *options) as relay:
        assert relay.end() == 3 and "never" not in relay.logs()
        found: dict[str, str] = relay.error()
        return found


def test_no_connection_in_words(sshd: Sshd, code: Path) -> None:
    error = refused(sshd, code, identity_file=str(sshd.folder / "other_key"))
    assert error["code"] == "login-refused" and "Permission denied" in error["cause"]
    assert "authorized_keys" in error["hint"]
    sshd.know("")
    error = refused(sshd, code)
    assert error["code"] == "host-key-unknown" and f"ssh-keyscan -p {sshd.port} 127.0.0.1" in error["hint"]
    sshd.know("other_key")
    error = refused(sshd, code)
    assert error["code"] == "host-key-changed" and f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in error["hint"]
    assert refused(sshd, code, host="nowhere.invalid")["code"] == "no-such-host"
    sshd.stop()
    assert refused(sshd, code)["code"] == "refused"
    assert refused(sshd, code, identity_file="/nowhere/key")["code"] == "no-identity"


def test_a_machine_that_will_not_do_in_words(sshd: Sshd, code: Path) -> None:
    error = refused(sshd, code, python={"default": "/opt/nowhere/python3"})
    assert error["code"] == "no-python" and "/opt/nowhere/python3" in error["message"] + error["cause"]
    error = refused(sshd, code, "--room", str(10**18))
    assert error["code"] == "disk-full" and re.search(r"to make; .* are free in", error["cause"])


def test_an_engine_host_there_answers_as_one_here_and_ends_with_its_client(
    sshd: Sshd, code: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "engine.bin").write_bytes(b"e" * 1000)
    given = ("--target", sshd.target().model_dump_json(), "--module", "tests.fakes.host", "--code", str(code))
    spec = StepSpec(worker="fake.host", settings={"tokens_per_s": 100}, inputs={"engine": str(engine)})
    command = HostCommand(
        argv=(sys.executable, "-m", "workbench.remote.relay", *given, "--host"), cwd=str(ROOT), spec=spec
    )
    with EngineClient.start(command, tmp_path / "host.log", timeout_s=30) as client:
        assert client.submit(prompt="hello", sampling=Sampling(max_tokens=3)).result(10).text == "one two three "
        there = processes_below(str(sshd.folder / "far"))
        assert there
    wait_until(lambda: not processes_below(str(sshd.folder / "far")))
    assert list((sshd.folder / "far" / "inputs").glob("engine-*/engine.bin"))
    # Its connection takes it along: nobody is left who could speak to it.
    with EngineClient.start(command, tmp_path / "host.log", timeout_s=30) as client:
        endless = client.submit(prompt="hello", sampling=Sampling(max_tokens=100_000))
        assert sshd.cut()
        failure = endless.result(20).failure
        assert failure is not None and "box" in failure.what
    wait_until(lambda: not processes_below(str(sshd.folder / "far")))
