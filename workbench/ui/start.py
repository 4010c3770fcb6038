"""How the window is started: says in a sentence why it cannot be, before Qt would end the process without a word."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench import __version__
from workbench.core.errors import Failure, WorkbenchError

_NO_DISPLAY_NEEDED = ("offscreen", "minimal", "vnc", "eglfs", "linuxfb", "vkkhrdisplay", "minimalegl")
_XCB_LIBRARIES = ("libxcb-cursor.so.0", "libxcb-icccm.so.4", "libxcb-keysyms.so.1", "libxkbcommon-x11.so.0")
_ANSWER_S = 2.0
_HELP = """usage: engine-workbench [FILE]...

Open the window of Engine Workbench, or bring it to the front. FILE is a preset (*.toml) or a model folder, which its
Build page then shows. The command line is `workbench`; the window keeps what it makes in the same WORKBENCH_HOME.

  --version  print the version and end
  --help     print this and end"""
_X_PORT = 6000


def main(argv: Sequence[str] | None = None) -> int:
    """Start the window. 0: closed, or another one of this home was raised; 2: it cannot be started here."""
    gc.disable()  # what is imported stays: looking through it again and again takes a fifth of the start
    words = list(sys.argv if argv is None else argv)
    asked = words[1 : words.index("--")] if "--" in words else words[1:]
    if "--help" in asked or "-h" in asked:
        print(_HELP)
        return 0
    if "--version" in asked:
        print(f"engine-workbench {__version__}")
        return 0
    failure = display_problem(os.environ, words)
    if failure is None:
        try:
            from workbench.ui.app import main as open_window
        except ImportError as error:
            failure = import_problem(error)
        else:
            try:
                return open_window(words)
            except WorkbenchError as error:
                failure = error.failure
    sys.stderr.write("Engine Workbench cannot open its window. " + "\n".join(failure.lines()) + "\n")
    return 2


def import_problem(error: ImportError) -> Failure:
    """Why Qt or another library of the window is not to be had."""
    name = error.name or ""
    if isinstance(error, ModuleNotFoundError) and name.split(".")[0] in ("PySide6", "shiboken6", "pyqtgraph", "numpy"):
        return Failure(
            code="no-qt",
            what=f"{name.split('.')[0]} is not installed in this Python.",
            evidence=f"{sys.executable}: {error}",
            fix=f"`{sys.executable} -m pip install engine-workbench` installs it; the command line works without it.",
            exit_code=2,
        )
    return Failure(
        code="no-qt",
        what="A library that the window needs cannot be loaded.",
        evidence=str(error),
        fix="On Debian and Ubuntu: apt-get install libegl1 libgl1 libglib2.0-0 libxkbcommon0 libdbus-1-3 "
        "libfontconfig1. The command line works without them.",
        exit_code=2,
    )


def display_problem(environ: Mapping[str, str], argv: Sequence[str] = ()) -> Failure | None:
    """Why no window can be shown; None when it can, or when nobody can tell. Qt itself would abort the process."""
    platforms = _platforms(environ, argv)
    if not sys.platform.startswith("linux") or any(name in _NO_DISPLAY_NEEDED for name in platforms):
        return None
    x11, wayland = environ.get("DISPLAY", ""), environ.get("WAYLAND_DISPLAY", "")
    if platforms == ["xcb"]:
        wayland = ""
    elif platforms and all(name.startswith("wayland") for name in platforms):
        x11 = ""
    if not x11 and not wayland:
        return _no_display("There is no display to show it on.", "DISPLAY and WAYLAND_DISPLAY are not set")
    if wayland and _wayland_answers(environ, wayland):
        return None
    if not x11:
        return _no_display("The display does not answer.", f"WAYLAND_DISPLAY={wayland}")
    if not _x_answers(x11):
        return _no_display("The display does not answer.", f"DISPLAY={x11}")
    for library in _XCB_LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return Failure(
                code="no-qt",
                what=f"A system library that windows need is missing: {library}.",
                evidence=str(error),
                fix="On Debian and Ubuntu: apt-get install libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 "
                "libxcb-shape0 libxkbcommon-x11-0",
                exit_code=2,
            )
    return None


def _platforms(environ: Mapping[str, str], argv: Sequence[str]) -> list[str]:
    """Qt's platform plugins that were asked for, without their options."""
    wanted = environ.get("QT_QPA_PLATFORM", "")
    words = list(argv)
    for place, word in enumerate(words[:-1]):
        if word in ("-platform", "--platform"):
            wanted = words[place + 1]
    return [name.split(":")[0].strip() for name in wanted.split(";") if name.strip()]


def _no_display(what: str, evidence: str) -> Failure:
    return Failure(
        code="no-display",
        what=what,
        evidence=evidence,
        fix="Start it in a desktop session, or with `ssh -X`; `workbench --help` shows the command line, "
        "which needs no display.",
        exit_code=2,
    )


def _wayland_answers(environ: Mapping[str, str], name: str) -> bool:
    folder = environ.get("XDG_RUNTIME_DIR", "")
    path = Path(name) if name.startswith("/") else Path(folder) / name if folder else None
    return path is not None and _reaches(socket.AF_UNIX, str(path))


def _x_answers(display: str) -> bool:
    """Whether somebody listens at `host:number.screen`; a local one by its socket, as X clients look for it."""
    host, colon, rest = display.rpartition(":")
    number = rest.split(".")[0]
    if not colon or not number.isdigit():
        return False
    if host.startswith("/"):
        return _reaches(socket.AF_UNIX, f"{host}:{number}") or _reaches(socket.AF_UNIX, host)
    if host in ("", "unix"):
        local = f"/tmp/.X11-unix/X{number}"  # noqa: S108 - where X servers listen
        if _reaches(socket.AF_UNIX, "\0" + local) or _reaches(socket.AF_UNIX, local):
            return True
        host = "localhost"
    return _reaches(socket.AF_INET, (host, _X_PORT + int(number)))


def _reaches(family: int, address: str | tuple[str, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.settimeout(_ANSWER_S)
            made.connect(address)
            return True
    except (OSError, OverflowError, ValueError):
        return False
