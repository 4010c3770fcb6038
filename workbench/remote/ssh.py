"""Another machine over OpenSSH: one connection that all programs and transfers share, and nothing asked of a person.

The connection is a master of our own with a private socket. What goes through it can go no other way: should the
master be gone, a program fails at once in place of making a connection of its own, unwatched.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from workbench.core.errors import BadInputError
from workbench.core.target import Target
from workbench.remote import rsync
from workbench.remote.transport import (
    CutError,
    Done,
    Tick,
    dies_with_us,
    end_group,
    open_here,
    own_environment,
    run_here,
)
from workbench.remote.words import explain_ssh, no_program_here

CONNECT_SECONDS = 15
_LONGEST_SECONDS = 90.0
"""Of making a connection, whatever stands between."""
_NAME = "far"
"""Programs that go through the master name no machine of their own."""


class SshTransport:
    """See `Transport`. `connect` must come first."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None
        self._moving: set[tuple[str, str]] = set()
        """Transfers that began and did not end."""

    @property
    def title(self) -> str:
        return self.target.name

    @property
    def copies(self) -> bool:
        return not self.target.shared

    # -- the connection

    def connect(self) -> None:
        """Raises CutError for what may mend itself (no route, a time-out), BadInputError for what will not."""
        self.close()
        if shutil.which("ssh") is None:
            raise no_program_here("ssh", "openssh-client")
        if self.target.identity_file and not Path(self.target.identity_file).expanduser().is_file():
            raise BadInputError(
                f"The key of {self.title} is not there.",
                evidence=self.target.identity_file,
                fix="Name the private key's file in the target, or leave it to ssh.",
                code="no-identity",
            )
        self._folder = _private_folder()
        with tempfile.TemporaryFile() as errors:
            self._master = subprocess.Popen(
                master_argv(self.target, self._socket),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                preexec_fn=dies_with_us(),
                env=own_environment(),
            )
            end = time.monotonic() + _LONGEST_SECONDS
            while not self._socket.exists():
                if self._master.poll() is not None or time.monotonic() > end:
                    text = _text_of(errors) or "it took too long"
                    self.close()
                    raise explain_ssh(self.target, text)
                time.sleep(0.02)

    @property
    def _socket(self) -> Path:
        assert self._folder is not None
        return self._folder / "c"

    def _alive(self) -> bool:
        return self._master is not None and self._master.poll() is None

    def _through(self) -> list[str]:
        if not self._alive():
            raise CutError("the connection was closed")
        return through_argv(self._socket)

    # -- what goes through it

    def run(self, words: Sequence[str], *, data: bytes = b"", seconds: float = 60.0) -> Done:
        try:
            done = run_here([*self._through(), _NAME, _quoted(words)], data=data, seconds=seconds)
        except TimeoutError as error:
            raise CutError(str(error)) from None
        if done.code == 255 or not self._alive():
            raise CutError(_short(done.err) or "the connection was closed")
        return done

    def open(self, words: Sequence[str], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return open_here([*self._through(), _NAME, _quoted(words)], stdin=stdin)

    def send(self, source: Path, far: str, tick: Tick, *, like: Sequence[str] = ()) -> None:
        way, again = shlex.join(self._through()), (str(source), far) in self._moving
        self._moving.add((str(source), far))
        rsync.send(self.title, way, source, f"{_NAME}:{far}/", tick, like=like, again=again)
        self._moving.discard((str(source), far))

    def fetch(self, far: str, target: Path, tick: Tick) -> None:
        way, again = shlex.join(self._through()), (far, str(target)) in self._moving
        self._moving.add((far, str(target)))
        rsync.fetch(self.title, way, f"{_NAME}:{far}/", target, tick, again=again)
        self._moving.discard((far, str(target)))

    def close(self) -> None:
        if self._master is not None:
            if self._master.poll() is None:
                self._master.terminate()  # it says goodbye and takes its socket away
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._master.wait(1.0)
            end_group(self._master)
            self._master = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def master_argv(target: Target, socket: Path) -> list[str]:
    """The connection itself: it checks the host's key, asks nothing, forwards nothing, and notices a dead line."""
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        f"ControlPath={socket}",
        "ControlPersist=no",
        f"ConnectTimeout={CONNECT_SECONDS}",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=3",
        "TCPKeepAlive=yes",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
    ]
    if target.known_hosts:
        options += [f"UserKnownHostsFile={_option_path(target.known_hosts)}", "GlobalKnownHostsFile=/dev/null"]
    if target.identity_file:
        options += ["IdentitiesOnly=yes", f"IdentityFile={_option_path(target.identity_file)}"]
    words = ["ssh", "-M", "-N", "-T"]
    for option in options:
        words += ["-o", option]
    if target.port is not None:
        words += ["-p", str(target.port)]
    return [*words, "--", target.host]


def through_argv(socket: Path) -> list[str]:
    """A program through the master, and through it alone; the machine's name and the command follow."""
    return ["ssh", "-F", "none", "-T", "-S", str(socket), "-o", "BatchMode=yes", "-o", "ProxyCommand=false"]


def _quoted(words: Sequence[str]) -> str:
    """One word for the other machine's shell: ssh joins words with spaces, so each is quoted."""
    return "exec " + shlex.join(words)


def _option_path(text: str) -> str:
    """A path as the value of an option: quoted, and its percent signs are no tokens."""
    path = str(Path(text).expanduser()).replace("%", "%%")
    return f'"{path}"'


def _private_folder() -> Path:
    """A folder that nobody else may enter, whose name is short enough for a socket and plain enough for rsync's -e."""
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if parent and len(parent) < 40 and re.fullmatch(r"[\w./-]+", parent) and os.access(parent, os.W_OK):
            with contextlib.suppress(OSError):
                _sweep(Path(parent))
                return Path(tempfile.mkdtemp(prefix=f"wb-ssh-{os.getpid()}-", dir=parent))
    raise BadInputError("There is no folder for the connection's socket.", evidence="none may be written")


def _sweep(parent: Path) -> None:
    """Take away what relays left that were killed."""
    for left in parent.glob("wb-ssh-*-*"):
        number = left.name.split("-")[2]
        if number.isdigit() and not Path(f"/proc/{number}").exists() and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)


def _text_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode("utf-8", "replace").strip()


def _short(text: str) -> str:
    return (text.splitlines() or [""])[-1][:300]
