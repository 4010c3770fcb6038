"""What ssh and rsync say, as they said it, in our words; which of it is worth another try; and paths of both sides."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from workbench.core.errors import BlockedError, StepFailedError, WorkbenchError
from workbench.core.messages import StepSpec
from workbench.core.target import Target
from workbench.remote import ready, rsync
from workbench.remote.fetching import compare, name_as_here
from workbench.remote.paths import Names, final_name, identity, needed
from workbench.remote.ssh import master_argv
from workbench.remote.transport import CutError
from workbench.remote.words import explain_ssh

BOX = Target(name="box", kind="ssh", host="me@box.lab", port=2222, folder="/far", known_hosts="/my files/known")
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
The fingerprint for the ED25519 key sent by the remote host is
SHA256:fXsVUz5iJe6eOJ0Ra0ZHmaD2wpCHIPqsuWLQYdIJ7v0.
Host key verification failed."""
PROTECTED = """\
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
Permissions 0644 for '/home/me/.ssh/id' are too open.
me@box.lab: Permission denied (publickey)."""


@pytest.mark.parametrize(
    ("said", "code", "again"),
    [
        (CHANGED, "host-key-changed", False),
        ("No ED25519 host key is known for [box.lab]:2222 and you have requested strict checking.\r\n"
         "Host key verification failed.", "host-key-unknown", False),
        (PROTECTED, "login-refused", False),
        ("me@box.lab: Permission denied (publickey,password).", "login-refused", False),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", "login-refused", False),
        ("ssh: Could not resolve hostname box.lab: Name or service not known", "no-such-host", True),
        ("ssh: connect to host box.lab port 2222: Connection timed out", "timed-out", True),
        ("Connection timed out during banner exchange", "timed-out", True),
        ("ssh: connect to host box.lab port 2222: Connection refused", "refused", True),
        ("ssh: connect to host box.lab port 2222: No route to host", "unreachable", True),
        ("kex_exchange_identification: Connection closed by remote host", "no-connection", True),
    ],
)  # fmt: skip
def test_no_connection(said: str, code: str, again: bool) -> None:
    error = explain_ssh(BOX, said)
    assert isinstance(error, WorkbenchError) and isinstance(error, CutError) is again
    assert error.failure.code == code and error.fix and error.evidence
    assert "box" in error.what


def test_the_commands_that_are_given_are_for_this_machine() -> None:
    error = explain_ssh(BOX, CHANGED)
    assert isinstance(error, WorkbenchError)
    assert "ssh-keygen -R '[box.lab]:2222' -f '/my files/known'" in error.fix
    argv = master_argv(BOX.model_copy(update={"identity_file": "/k/100%"}), Path("/run/c"))
    assert argv[-4:] == ["-p", "2222", "--", "me@box.lab"]
    assert 'UserKnownHostsFile="/my files/known"' in argv and 'IdentityFile="/k/100%%"' in argv
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "ForwardAgent=no"} <= set(argv)


@pytest.mark.parametrize(
    ("code", "said", "sending", "kind"),
    [
        (11, 'rsync: [receiver] write failed on "/far/x": No space left on device (28)', True, "disk-full"),
        (23, 'rsync: [receiver] mkstemp "/far/.x" failed: Permission denied (13)', True, "not-writable"),
        (12, "bash: line 1: rsync: command not found\nrsync error: error in rsync protocol", True, "no-rsync"),
        (23, 'rsync: [sender] link_stat "/x" failed: No such file or directory (2)', False, "not-moved"),
        (12, "rsync: connection unexpectedly closed (0 bytes received so far) [sender]", True, ""),
        (255, "client_loop: send disconnect: Broken pipe", True, ""),
        (30, "rsync error: timeout in data send/receive", False, ""),
    ],
)
def test_files_that_do_not_move(code: int, said: str, sending: bool, kind: str) -> None:
    error = rsync._explain("box", code, said, sending)
    if not kind:
        assert isinstance(error, CutError)
        return
    assert isinstance(error, WorkbenchError) and error.failure.code == kind and error.evidence


def test_room_there() -> None:
    ready.check_room(BOX, "/far", 10 * 2**30, 2**30, 2**30)
    with pytest.raises(BlockedError, match="1 GiB to send, 8 GiB to make; 2 GiB are free in /far"):
        ready.check_room(BOX, "/far", 2 * 2**30, 2**30, 8 * 2**30)


def test_paths_of_both_sides() -> None:
    names = Names()
    names.add("/home/me/model", "/far/inputs/model-1")
    names.add("/home/me/out.partial", "/far/runs/r/output")
    assert names.to_far("/home/me/model") == "/far/inputs/model-1"
    assert names.to_far("/home/me/model/x.bin") == "/far/inputs/model-1/x.bin"
    assert names.to_far("/home/me/model-2") == "/home/me/model-2" and names.to_far("int8") == "int8"
    line = json.dumps({"type": "log", "text": "read /far/inputs/model-1/é, wrote '/far/runs/r/output'"}).encode()
    said = json.loads(names.line_to_local(line + b"\n"))["text"]
    assert said == "read /home/me/model/é, wrote '/home/me/out.partial'"
    other = b'{"type": "log",   "text": "no path"}\n'
    assert names.line_to_local(other) is other
    assert final_name("/a/engine.0a1b2c3d.partial") == final_name("/a/engine.partial") == "/a/engine"


def test_what_a_step_needs(tmp_path: Path) -> None:
    model, engine, prompts = tmp_path / "model", tmp_path / "engine", tmp_path / "prompts.txt"
    for folder in (model, engine, tmp_path / "plain"):
        folder.mkdir()
    (model / "config.json").write_text("{}")
    (engine / "engine.json").write_text(json.dumps({"model": {"path": str(model)}}))
    prompts.touch()
    settings = {"a": ["int8", str(prompts)], "b": {"c": str(tmp_path / "plain"), "d": "/" + "x" * 3000}, "e": "/no\n"}
    spec = StepSpec(worker="w", settings=settings, inputs={"engine": str(engine)})
    assert sorted(needed(spec, ())) == sorted([engine, model, prompts])


def test_a_folders_identity_is_its_provenance_or_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"x" * 10)
    (folder / ".git").mkdir()
    (folder / ".git" / "big").write_bytes(b"y" * 100)
    first = identity(folder)
    assert first[1] == 10 and identity(folder) == first
    os.utime(folder / "w.bin", (1, 1))
    assert identity(folder) != first
    (folder / "provenance.json").write_text("{}")
    sealed = identity(folder)[0]
    (folder / "verify.json").write_text("{}")
    assert identity(folder)[0] == sealed  # a look at it makes no other artefact of it


def test_what_is_fetched_is_compared(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"y")
    (tmp_path / "more").write_bytes(b"z")
    x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    with pytest.raises(StepFailedError) as refused:
        compare(tmp_path, {"same": (1, x), "other": (1, x), "gone": (1, x)}, "box")
    assert refused.value.evidence == "gone is missing; more is not there; other differs"
    for name in ("other", "more"):
        (tmp_path / name).unlink()
    compare(tmp_path, {"same": (1, x)}, "box")
    names = Names()
    names.add("/home/me/model", "/far/inputs/model-1")
    (tmp_path / "engine.json").write_text('{"model": "/far/inputs/model-1"}')
    name_as_here(tmp_path, names)
    assert (tmp_path / "engine.json").read_text() == '{"model": "/home/me/model"}'
