"""A fresh system in a folder: unpacked, mounted, used by root or by a user without a network, and taken away whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from package_test.checks import Failed, call, ending, said

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def mounts_below(folder: Path, table: str) -> list[str]:
    """Mount points at or below a folder, the last mounted first. `table` is the text of /proc/mounts."""
    points = [line.split()[1].encode().decode("unicode_escape") for line in table.splitlines() if " " in line]
    return [point for point in reversed(points) if Path(point) == folder or folder in Path(point).parents]


class Chroot:
    """Use it in a `with`: whatever happens, its processes end, its mounts go, and then its files."""

    def __init__(self, base: Path, scratch: Path, name: str) -> None:
        self.root = scratch / name
        self.base = base
        self.users: dict[str, int] = {}

    def __enter__(self) -> Chroot:
        try:
            self.root.mkdir(parents=True)
            said("tar", "--numeric-owner", "-xpf", self.base, "-C", self.root)
            self._mount("-t", "proc", "proc", at="proc")
            # Without it OpenVINO cannot see the processor's cores.
            self._mount("-t", "sysfs", "-o", "ro", "sysfs", at="sys")
            self._mount("--bind", "/dev", at="dev")
            self._mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", at="dev/shm")
            shutil.copyfile("/etc/resolv.conf", self.root / "etc" / "resolv.conf")
            # Services of packages are not to start on the machine that tests them.
            policy = self.root / "usr" / "sbin" / "policy-rc.d"
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _mount(self, *words: str, at: str) -> None:
        point = self.root / at
        point.mkdir(parents=True, exist_ok=True)
        done = call("mount", *words, point)
        if done.returncode:
            raise OSError(f"{point} cannot be mounted: {done.stderr.strip()}")

    def bind(self, folder: Path, at: str) -> None:
        """A folder of this machine, to be read there."""
        self._mount("--bind", str(folder), at=at)
        said("mount", "-o", "remount,ro,bind", self.root / at)

    def processes(self) -> list[int]:
        """Processes that live in this chroot, whoever started them."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "root").readlink() == self.root:
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def close(self) -> None:
        """Never deletes a tree in which something is still mounted. A second Ctrl+C waits until it is through."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _close(self) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                try:
                    os.kill(pid, sign)
                except ProcessLookupError:
                    continue
            for _ in range(30):
                if not self.processes():
                    break
                time.sleep(0.1)
        for _ in range(50):  # what a process had open is let go of a moment after its end
            points = mounts_below(self.root, Path("/proc/mounts").read_text())
            if all(call("umount", point).returncode == 0 for point in points):
                break
            time.sleep(0.2)
        if left := mounts_below(self.root, Path("/proc/mounts").read_text()):
            print(f"{self.root} is left as it is, since these are still mounted: {', '.join(left)}", flush=True)
            return
        if self.root.exists():
            # One file system only: were a mount missed after all, nothing of it would go.
            call("rm", "-rf", "--one-file-system", self.root)

    def add_user(self, name: str) -> None:
        self.root_run("useradd", "--create-home", "--shell", "/bin/sh", name)
        for line in (self.root / "etc" / "passwd").read_text().splitlines():
            if line.startswith(f"{name}:"):
                self.users[name] = int(line.split(":")[2])

    def home(self, name: str) -> Path:
        """A user's folder, as seen from outside."""
        return self.root / "home" / name

    def root_run(self, *argv: str, seconds: float = 900.0, environ: Mapping[str, str] | None = None) -> str:
        """As root, with the machine's network. Raises Failed with what was said."""
        proxies = {name: os.environ[name] for name in PROXIES if name in os.environ}
        settled = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", **proxies, **(environ or {})}
        return _called(["chroot", str(self.root), *argv], settled, seconds)

    def user_run(
        self,
        name: str,
        *argv: str,
        seconds: float = 600.0,
        environ: Mapping[str, str] | None = None,
        folder: str | None = None,
    ) -> str:
        """As an ordinary user, with loopback and no other network. Raises Failed with what was said."""
        uid = self.users[name]
        settled = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": f"/home/{name}",
            "USER": name,
            "LOGNAME": name,
            "LANG": "C.UTF-8",
            "QT_QPA_PLATFORM": "offscreen",
            **(environ or {}),
        }
        words = [f"{key}={value}" for key, value in settled.items()]
        inside = ["chroot", f"--userspec={uid}:{uid}", "--groups=", str(self.root), "/usr/bin/env", "-i", *words]
        start = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder or f"/home/{name}", *argv]
        alone = ["unshare", "--net", "--", "/bin/sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        return _called([*alone, *inside, *start], {"PATH": PATH}, seconds)


def _called(argv: Sequence[str], environ: Mapping[str, str], seconds: float) -> str:
    process = subprocess.Popen(
        argv,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failed(f"no end after {seconds:.0f} s\n{ending(out)}\n{ending(err)}") from None
        raise
    if process.returncode:
        raise Failed(f"ended with {process.returncode}: {ending(err) or ending(out)}\n{ending(out, 60)}")
    return out
