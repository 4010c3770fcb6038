"""Start, follow and stop servers. Everything goes through the server's folder, so any process may do it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from workbench.core.errors import BadInputError, BlockedError, StepFailedError
from workbench.core.home import Home, expanded
from workbench.core.precision import Precision
from workbench.core.serving import ServeLimits, ServeReading, ServeSpec, ServeState
from workbench.core.settings import load_settings
from workbench.jobs.detach import lock_file, start_apart
from workbench.jobs.folder import last_log_line
from workbench.serve.folder import ENDED, Serving, ServingFolder, create, new_id, serving_ids
from workbench.serve.guard import Guard
from workbench.serve.ports import PortUse, check_free, is_loopback, port_use
from workbench.serve.readings import read_readings as _read_readings
from workbench.toolchains.secrets import Secret, checked_key

KeyPlace = Literal["none", "env", "keyring"]
_LONGEST_MODEL = 200


@dataclass(frozen=True)
class ServeRequest:
    """A server as a person asks for it."""

    engine: Path
    model: str = ""
    """The name that clients send; empty: made of the engine's."""
    host: str = "127.0.0.1"
    port: int = 8000
    limits: ServeLimits = field(default_factory=ServeLimits)
    overrides: tuple[str, ...] = ()
    """Runtime settings, as `workbench prompt --set`."""
    key_source: KeyPlace = "none"
    """Where the key is kept that `start` is given; none also for one that is kept nowhere."""
    key_name: str = ""


def new_key() -> Secret:
    """A key that nobody can guess, for a server that wants one: 43 characters of randomness."""
    return Secret(f"ewb-{secrets.token_urlsafe(32)}")


def prepare(home: Home, request: ServeRequest, *, has_key: bool) -> ServeSpec:
    """Everything that can be known before anything is loaded: the engine and its settings, its GPUs and its room,
    the address, the key. Reads files, asks the driver, and takes up to a second: not for a GUI thread.

    Raises BadInputError, BlockedError.
    """
    from workbench.serve.plans import plan_of  # heavy: the toolchains

    check_address(request.host, request.port, has_key=has_key, home=home)
    engine, overrides = request.engine.absolute(), tuple(_absolute(each) for each in request.overrides)
    plan = plan_of(home, engine, overrides, os.environ)
    plan.check()
    return ServeSpec(
        id=new_id(time.time()),
        engine=str(engine),
        name=plan.name,
        model=checked_model(request.model or default_model(plan.name)),
        host=request.host,
        port=request.port,
        key_source=request.key_source,
        key_name=request.key_name,
        keyed=has_key,
        limits=request.limits,
        overrides=overrides,
        created_at=time.time(),
    )


def _absolute(override: str) -> str:
    """A path in a setting as the server's process finds it, which works in another folder."""
    name, _, value = override.partition("=")
    if name.strip() != "speculative.draft" or value.strip() in [precision.value for precision in Precision]:
        return override
    path = expanded(value.strip())
    return f"{name}={path}" if path.is_dir() else override


def check_address(host: str, port: int, *, has_key: bool, home: Home | None = None) -> None:
    """Raises BadInputError when it cannot be listened on there, or not without a key, BlockedError where the settings
    of `home` forbid it. A server of `home` that has the
    port is named.
    """
    if not is_loopback(host) and not has_key:
        raise BadInputError(
            "A server that others can reach needs an API key.",
            evidence=f"{host} is not this machine alone",
            fix="Give a key (--new-key makes one), or listen on 127.0.0.1.",
            code="key-needed",
        )
    if home is not None and not is_loopback(host):
        _refuse_network(home, host)
    try:
        check_free(host, port)
    except BadInputError as error:
        use = port_use_of(home, host, port) if home is not None and error.failure.code == "port-in-use" else None
        if use is None or not use.server:
            raise
        raise BadInputError(
            error.what,
            evidence=use.words,
            fix=f"Take another port{f', such as --port {use.next_free}' if use.next_free is not None else ''}, or stop "
            f"that server: workbench serve stop {port}",
            code=error.failure.code,
        ) from None


def network_refusal(home: Home) -> str:
    """The setting that keeps servers to this machine, in words; empty: there is none. Reads files."""
    loaded = load_settings(home)
    if loaded.values.serving.allow_network:
        return ""
    return f"serving.allow_network is false in {loaded.origins['serving.allow_network']}"


def _refuse_network(home: Home, host: str) -> None:
    """Raises BlockedError where the settings keep servers to this machine."""
    if said := network_refusal(home):
        raise BlockedError(
            "The settings do not let servers be reached from other machines.",
            evidence=f"{host}; {said}",
            fix="Listen on 127.0.0.1, or ask the administrator.",
            code="no-network-serving",
        )


def port_use_of(home: Home, host: str, port: int) -> PortUse | None:
    """Who has a port, by the engine's name where it is a server of `home`; None when it is free."""
    use = port_use(host, port)
    if use is None or use.pid is None:
        return use
    ours = next((each for each in list_servings(home) if each.running and each.state.pid == use.pid), None)
    return replace(use, server=ours.spec.name) if ours is not None else use


def default_model(name: str) -> str:
    """`SmolLM2-135M-Instruct-int4` of an engine's name `SmolLM2-135M-Instruct int4`."""
    return "-".join("".join(c if c.isprintable() else " " for c in name).split())[:_LONGEST_MODEL] or "model"


def checked_model(model: str) -> str:
    """A model name that clients can send. Raises BadInputError."""
    if not model.strip() or len(model) > _LONGEST_MODEL or not model.isprintable():
        raise BadInputError(
            "This cannot be a model's name.",
            evidence=f"{len(model)} characters" if model.strip() else "it is empty",
            fix=f"Give a name of at most {_LONGEST_MODEL} printable characters on one line.",
            code="bad-model-name",
        )
    return model


def start(home: Home, spec: ServeSpec, key: str | None = None) -> ServingFolder:
    """Make the server's folder and its process, and wait only until that is there. It loads and serves on, whatever
    becomes of this process.

    The key goes through a pipe: it is in no file, no argv and no variable of the server. Raises BadInputError,
    StepFailedError.
    """
    check_address(spec.host, spec.port, has_key=key is not None, home=home)
    spec = spec.model_copy(update={"keyed": key is not None})
    secret = "" if key is None else checked_key(key)
    Guard(spec.host, secret or None)  # what it refuses is said before anything is made
    folder = create(home.serving, spec)
    lock = os.open(folder.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    key_out, key_in = os.pipe()
    try:
        if not lock_file(lock):
            raise StepFailedError("The server's folder is held by another process.", evidence=str(folder.path))
        os.write(key_in, secret.encode("ascii"))  # at most 16 KiB, which any pipe holds
        os.close(key_in)
        key_in = -1
        start_apart(
            "workbench.serve",
            [str(folder.path), str(lock), str(key_out)],
            (lock, key_out),
            folder.path,
            "The server",
            without=(spec.key_name,) if spec.key_source == "env" else (),
        )
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    finally:
        for handle in (lock, key_out, key_in):
            if handle >= 0:
                os.close(handle)
    return folder


def read_state(folder: ServingFolder) -> ServeState:
    """How it is now; lost when its process is gone without a word. Raises BadInputError."""
    return folder.state()


def read_readings(folder: ServingFolder, since: float = 0.0, *, at_most: int = 4000) -> list[ServeReading]:
    """Readings after `since` (seconds since the epoch), oldest first; the newest ones when there are more."""
    return _read_readings(folder.readings_path, since, at_most)


def follow(folder: ServingFolder, poll_s: float = 0.2) -> Iterator[ServeState]:
    """The state again and again, until the server has ended."""
    while True:
        state = folder.state()
        yield state
        if state.status in ENDED:
            return
        time.sleep(poll_s)


def wait_ready(folder: ServingFolder, timeout_s: float = 600.0) -> ServeState:
    """The state once it serves or has ended. Raises TimeoutError."""
    ends = time.monotonic() + timeout_s
    for state in follow(folder, 0.05):
        if state.status != "starting":
            return state
        if time.monotonic() > ends:
            break
    raise TimeoutError(f"server {folder.id} is not ready: {last_log_line(folder.log_path)}")


def wait_ended(folder: ServingFolder, timeout_s: float | None = None) -> ServeState:
    """The last state of a server, and nothing of it runs any more. Raises TimeoutError."""
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        state = folder.state()
        if state.status in ENDED and not folder.is_running():
            return state
        if ends is not None and time.monotonic() > ends:
            raise TimeoutError(f"server {folder.id} is still {state.status}")
        time.sleep(0.05)


def stop(folder: ServingFolder, *, now: bool = False) -> bool:
    """Ask the server to stop: no new requests, running ones may end within `drain_s`; `now` aborts them. A second ask
    with `now` cuts a drain short. False when it does not run (any more).
    """
    if not folder.is_running():
        return False
    handle = os.open(folder.path, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(5.0)
            for _ in range(100):  # one that has just been started does not listen yet
                try:
                    control.connect(f"/proc/self/fd/{handle}/{ServingFolder.socket_name}")
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    if not folder.is_running():
                        return False
                    time.sleep(0.05)
            control.sendall(b"stop-now\n" if now else b"stop\n")
            with contextlib.suppress(OSError):
                control.recv(16)
            return True
    except OSError:
        return False
    finally:
        os.close(handle)


def list_servings(home: Home) -> list[Serving]:
    """All servers whose folders can be read, running and ended, newest first."""
    found = []
    for each in reversed(serving_ids(home.serving)):
        folder = ServingFolder(home.serving / each)
        with contextlib.suppress(BadInputError, OSError):
            found.append(Serving(folder, folder.spec(), folder.state()))
    return found


def remove(folder: ServingFolder) -> None:
    """Forget an ended server: its folder goes. Raises BadInputError while it runs."""
    if folder.is_running():
        raise BadInputError(
            f"The server {folder.id} runs.",
            fix=f"Stop it first: workbench serve stop {folder.id}",
            code="server-running",
        )
    try:
        shutil.rmtree(folder.path)
    except OSError as error:
        raise BadInputError(f"{folder.path} could not be removed.", evidence=str(error), code="not-writable") from error
