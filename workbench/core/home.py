"""Where state lives: one root folder, moved by WORKBENCH_HOME."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import BadInputError

HOME_VARIABLE = "WORKBENCH_HOME"


@dataclass(frozen=True)
class Home:
    """The folders under one root."""

    root: Path

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def lanes(self) -> Path:
        return self.root / "lanes"

    @property
    def database(self) -> Path:
        return self.root / "store.sqlite"

    @property
    def presets(self) -> Path:
        """The person's own presets, listed beside the shipped ones."""
        return self.root / "presets"

    @property
    def environments(self) -> Path:
        """Toolchain environments that the workbench made: `<toolchain>/<name>/bin/python`."""
        return self.root / "toolchains"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def runs(self) -> Path:
        """Benchmark runs, a folder each."""
        return self.root / "runs"

    @property
    def comparisons(self) -> Path:
        """Comparisons, a folder each."""
        return self.root / "comparisons"

    @property
    def serving(self) -> Path:
        """Servers in front of engines, running and ended, a folder each."""
        return self.root / "serving"

    @property
    def targets(self) -> Path:
        """Other machines that steps run on, a TOML file each."""
        return self.root / "targets"

    def make(self) -> Home:
        """Create the folders, private to the user. Raises BadInputError when that cannot be."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.jobs, self.artifacts, self.lanes, self.cache, self.logs):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise BadInputError(
                f"The workbench's own folder cannot be made: {self.root}",
                evidence=str(error),
                fix=f"Set {HOME_VARIABLE} to a folder that you may write to and that has room.",
                code="home-not-writable",
            ) from error
        return self


def expanded(path: str | Path) -> Path:
    """The absolute path with `~` expanded; a `~name` that is nobody's stays as it is. Links are not followed."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        return Path(path).absolute()
