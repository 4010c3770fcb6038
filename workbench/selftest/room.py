"""Where a self-test happens: a home and temporary folders of its own, taken away at the end with all that runs there.

What belongs to the person is only read: their settings are copied, their toolchain environments are linked to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

from workbench.core.errors import BadInputError
from workbench.core.home import HOME_VARIABLE, Home
from workbench.core.home_choice import home_from
from workbench.core.settings import SETTINGS_FILE

_XDG = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
_END_S = 5.0


@dataclass
class Room:
    """Use it in a `with`: until its end this process, and all it starts, live in `home`."""

    patience: float = 1.0
    """Factor on the time that each check may take."""
    real: Home = field(default_factory=lambda: home_from(os.environ))
    """The person's own home."""
    root: Path = field(init=False)
    engine: Path | None = None
    """The engine that the self-test built; None: none yet."""
    _before: dict[str, str] = field(init=False, default_factory=dict)

    def __enter__(self) -> Room:
        try:
            self.root = Path(tempfile.mkdtemp(prefix="workbench-self-test-")).resolve()
        except OSError as error:
            raise BadInputError(
                "No temporary folder can be made.",
                evidence=str(error),
                fix="Make room in /tmp, or set TMPDIR to a folder that you may write to.",
                code="no-temporary-folder",
            ) from error
        self._before = dict(os.environ)
        xdg = {name: str(self.root / name.lower()) for name in _XDG}
        for folder in (*map(Path, xdg.values()), self.temporary):
            folder.mkdir(mode=0o700)
        os.environ.update(
            xdg,
            TMPDIR=str(self.temporary),
            HF_HOME=str(self.root / "hf"),
            HF_HUB_OFFLINE="1",
            PYTHONDONTWRITEBYTECODE="1",
        )
        os.environ[HOME_VARIABLE] = str(self.root / "home")
        tempfile.tempdir = None  # it keeps what TMPDIR was
        home = self.home.make()
        if self.real.environments.is_dir():
            home.environments.symlink_to(self.real.environments.resolve())
        with contextlib.suppress(OSError):  # so that toolchains are found as the person has it
            shutil.copyfile(self.real.root / SETTINGS_FILE, home.root / SETTINGS_FILE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_processes()
        os.environ.clear()
        os.environ.update(self._before)
        tempfile.tempdir = None
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def home(self) -> Home:
        return Home(self.root / "home")

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def processes(self) -> list[psutil.Process]:
        """What runs in this room besides this process: told by the home in its environment."""
        mark = str(self.home.root)
        found = []
        for process in psutil.process_iter():
            if process.pid == os.getpid():
                continue
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(HOME_VARIABLE) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def end_processes(self) -> None:
        """Kill all that runs here."""
        ends = time.monotonic() + _END_S
        while (left := self.processes()) and time.monotonic() < ends:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            time.sleep(0.05)
