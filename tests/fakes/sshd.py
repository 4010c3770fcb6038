"""A real sshd on loopback with a port, keys and folders of its own, as whoever runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from workbench.core.target import Target

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PROGRAMS = ("sshd", "ssh", "ssh-keygen", "rsync")
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
MaxStartups 100
LogLevel VERBOSE
"""


def missing() -> list[str]:
    """Programs that are not on this machine."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


class Sshd:
    """Ends with `stop`; `cut` ends the connections that stand and leaves what runs behind them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, mode=0o700)
        with contextlib.closing(socket.socket()) as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port = chosen.getsockname()[1]
        for name in ("host_key", "user_key", "other_key"):
            self._make_key(name)
        (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
        (folder / "sshd_config").write_text(_CONFIG.format(port=self.port, folder=folder))
        self.know("host_key")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # else sshd refuses to start as root
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _make_key(self, name: str) -> None:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)

    def know(self, name: str) -> None:
        """Write that key of the folder down as the server's; an empty name: none is known."""
        key = " ".join((self.folder / f"{name}.pub").read_text().split()[:2]) if name else ""
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n" if key else "")

    def start(self) -> None:
        program = shutil.which("sshd", path=_PATH)
        assert program is not None
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None and time.monotonic() < end, (self.folder / "sshd.log").read_text()
            time.sleep(0.02)

    def sessions(self) -> list[psutil.Process]:
        """The processes that hold connections."""
        assert self._process is not None
        found = []
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if child.name() == "sshd" or child.name().startswith("sshd-"):
                        found.append(child)
        return found

    def cut(self) -> int:
        """Kill all connections; how many processes held them."""
        found = self.sessions()
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return len(found)

    def stop(self) -> None:
        """No connection is taken any more, and those that stand are cut. Idempotent."""
        if self._process is not None:
            self.cut()
            self._process.kill()
            self._process.wait()
            self._process = None

    def target(self, **fields: Any) -> Target:
        given = {
            "name": "box",
            "kind": "ssh",
            "host": f"{getpass.getuser()}@127.0.0.1",
            "port": self.port,
            "identity_file": str(self.folder / "user_key"),
            "known_hosts": str(self.folder / "known_hosts"),
            "folder": str(self.folder / "far"),
            "python": {"default": sys.executable},
        }
        return Target.model_validate({**given, **fields})
