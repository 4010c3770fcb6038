"""Addresses to listen on: whether one is free, who has it, and which is next."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

import psutil

from workbench.core.errors import BadInputError

_TRIED = 200
"""Ports above the wanted one that are looked at for a free one."""


@dataclass(frozen=True)
class PortUse:
    """A port that is taken."""

    port: int
    pid: int | None = None
    """None: it belongs to a process that may not be looked at."""
    program: str = ""
    next_free: int | None = None
    server: str = ""
    """The engine's name, where one of our own servers has it."""

    @property
    def who(self) -> str:
        """`python (pid 4711)`, `the server of demo-int4 (pid 4711)`."""
        if self.pid is None:
            return "another program"
        return f"{f'the server of {self.server}' if self.server else self.program or 'a program'} (pid {self.pid})"

    @property
    def words(self) -> str:
        """`port 8000 is used by python (pid 4711); 8001 is free`."""
        free = f"; {self.next_free} is free" if self.next_free is not None else ""
        return f"port {self.port} is used by {self.who}{free}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than `localhost` is not taken for one."""
    if host.casefold() == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


def bind(host: str, port: int, *, listen: bool = False) -> socket.socket:
    """A bound socket; port 0 takes a free one. `listen`: at once, since until then others may bind it as well.

    Raises BadInputError with who has the port and which is free, or why the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = _resolved(host, port)
    except (OSError, UnicodeError) as error:
        raise BadInputError(
            f"There is no address {host[:100]!r} to listen on.",
            evidence=str(error),
            fix="Give 127.0.0.1 for this machine alone, or 0.0.0.0 for all of its networks.",
            code="bad-host",
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.set_inheritable(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        if listen:
            listener.listen(socket.SOMAXCONN)
    except OSError as error:
        listener.close()
        raise _cannot_bind(host, port, error) from error
    return listener


def check_free(host: str, port: int) -> None:
    """Raises BadInputError as `bind` does. Port 0 is always free."""
    bind(host, port).close()


def port_use(host: str, port: int) -> PortUse | None:
    """Who has a port, and the next free one; None when it is free or the address cannot be used at all."""
    if port == 0:
        return None
    try:
        family, kind, protocol, _, address = _resolved(host, port)
    except (OSError, UnicodeError):
        return None
    if _binds(family, kind, protocol, address) != errno.EADDRINUSE:
        return None
    pid, program = _holder(port)
    return PortUse(port, pid, program, next_free_port(host, port))


def next_free_port(host: str, port: int) -> int | None:
    """The next port above that can be taken now."""
    family, kind, protocol, _, address = _resolved(host, port)
    for candidate in range(port + 1, min(port + _TRIED, 65_535) + 1):
        if _binds(family, kind, protocol, (address[0], candidate, *address[2:])) == 0:
            return candidate
    return None


def shown_url(host: str, port: int) -> str:
    """`http://127.0.0.1:8000`; for all networks by this machine's name, which others can reach it by."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - told apart, not listened on
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _resolved(host: str, port: int) -> tuple[int, int, int, str, tuple[str | int, ...]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, name, address = found[0]
    return family, kind, protocol, name, tuple(address)  # type: ignore[arg-type]


def _binds(family: int, kind: int, protocol: int, address: tuple[str | int, ...]) -> int:
    """0 when a socket can be bound there, else the error's number."""
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno or errno.EIO
    return 0


def _holder(port: int) -> tuple[int | None, str]:
    try:
        listening = [
            each
            for each in psutil.net_connections(kind="tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
        ]
    except (psutil.Error, OSError):
        return None, ""
    pid = next((each.pid for each in listening if each.pid is not None), None)
    if pid is None:
        return None, ""
    try:
        return pid, psutil.Process(pid).name()
    except psutil.Error:
        return pid, ""


def _cannot_bind(host: str, port: int, error: OSError) -> BadInputError:
    if error.errno == errno.EADDRINUSE:
        use = port_use(host, port) or PortUse(port)
        free = f"--port {use.next_free}" if use.next_free is not None else "--port 0"
        return BadInputError(
            f"Port {port} is in use.",
            evidence=use.words,
            fix=f"Take another port, such as {free}, or end that program.",
            code="port-in-use",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return BadInputError(
            f"Port {port} may not be used by this user.",
            evidence=f"{error.strerror}; user {os.getuid()}, ports below 1024 are the system's",
            fix="Take a port from 1024 on, such as --port 8000.",
            code="port-not-allowed",
        )
    return BadInputError(
        f"{host} port {port} cannot be listened on.",
        evidence=error.strerror or str(error),
        fix="Give an address of this machine: 127.0.0.1 for itself alone, 0.0.0.0 for all of its networks.",
        code="bad-host",
    )
