"""Where presets come from, with commits; and Git repositories of presets brought here, which only git can do."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import BadInputError, BlockedError, Failure, WorkbenchError
from workbench.core.galleries import PresetRepository, commit_of, preset_folders, preset_repositories
from workbench.core.home import Home
from workbench.core.preset import gallery_folders
from workbench.core.settings import refuse_offline
from workbench.core.toml_words import PASSWORD, clean
from workbench.core.trust import distrust

_SECONDS = 180.0
_OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
               "GIT_ALLOW_PROTOCOL", "GIT_ALTERNATE_OBJECT_DIRECTORIES")  # fmt: skip
"""Variables of the repository whose hook this may run in, and the one that counts above protocol.allow."""
_BRANCH = re.compile(r"[A-Za-z0-9][\w./+-]{0,199}")


@dataclass(frozen=True)
class PresetSource:
    """A folder in which presets are looked for."""

    folder: Path
    origin: str
    """`own`, `settings`, `repository` or `shipped`."""
    entry: str = ""
    """What the settings say, without a password."""
    commit: str = ""
    """"" where it is no Git checkout, or a repository that was not fetched yet."""
    exists: bool = True


def preset_sources(home: Home, environ: Mapping[str, str] | None = None) -> tuple[PresetSource, ...]:
    """All folders of presets in the order in which they count. Reads disks; never raises."""
    repositories = preset_repositories(home, environ)
    shipped = gallery_folders()
    found = []
    for folder in preset_folders(home, environ):
        repository = next((one for one in repositories if folder.is_relative_to(one.folder)), None)
        top = repository.folder if repository else _checkout_of(folder)
        if repository is not None:
            origin, entry = "repository", without_password(repository.entry)
        else:
            origin = "own" if folder == home.presets else "shipped" if folder in shipped else "settings"
            entry = str(folder) if origin == "settings" else ""
        commit = "" if origin == "shipped" else commit_of(top)
        there = os.path.isdir(folder)  # noqa: PTH112 - pathlib raises where this user may not look
        found.append(PresetSource(folder, origin, entry, commit, there))
    return tuple(found)


def _checkout_of(folder: Path) -> Path:
    """The folder, or the one above it that is a checkout: presets stand in a folder of their repository."""
    return folder if os.path.exists(folder / ".git") else folder.parent  # noqa: PTH110


def without_password(address: str) -> str:
    """An address fit to be shown."""
    return PASSWORD.sub("", address)


@dataclass(frozen=True)
class Fetched:
    """What came of one repository: its commit before and now, or why it could not be brought."""

    repository: PresetRepository
    before: str
    commit: str
    failure: Failure | None = None

    @property
    def words(self) -> str:
        """`up to date` and so on, for people."""
        if self.failure is not None:
            return self.failure.what
        if not self.before:
            return f"fetched, at {self.commit[:12]}"
        return f"up to date at {self.commit[:12]}" if self.before == self.commit else (
            f"{self.before[:12]} is now {self.commit[:12]}"
        )  # fmt: skip


def update_presets(
    home: Home, environ: Mapping[str, str] | None = None, seconds: float = _SECONDS
) -> tuple[Fetched, ...]:
    """Bring every Git repository of the settings, each within that time; one that fails keeps what was there.

    Raises BadInputError when the settings name none.
    """
    repositories = preset_repositories(home, environ)
    if not repositories:
        raise BadInputError(
            "The settings name no Git repository of presets.",
            fix="`workbench settings set folders.presets git+https://…`, or copy preset files to a folder.",
            code="no-repository",
        )
    made = []
    for repository in repositories:
        before = commit_of(repository.folder)
        try:
            made.append(Fetched(repository, before, _bring(home, repository, environ, seconds)))
        except WorkbenchError as error:
            made.append(Fetched(repository, before, before, error.failure))
    return tuple(made)


def _bring(home: Home, repository: PresetRepository, environ: Mapping[str, str] | None, seconds: float) -> str:
    """Clone afresh and put it in the old one's place: a history that was rewritten and a damaged copy cost nothing."""
    variables = dict(os.environ if environ is None else environ)
    shown = without_password(repository.entry)
    scheme = repository.address.partition("://")[0]
    if scheme != "file":
        refuse_offline(home, f"{shown} is not fetched: the settings forbid the network.", "Use a folder.", environ)
    if repository.branch and (not _BRANCH.fullmatch(repository.branch) or ".." in repository.branch):
        raise BadInputError(f"{shown}: this is no name of a branch.", evidence=clean(repository.branch))
    folder = repository.folder
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(3)}.new")
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(3)}.old")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _clone(repository, scheme, fresh, variables, shown, seconds)
        commit = commit_of(fresh)
        if not commit:
            raise BadInputError(f"{shown} has no commit.", fix="Push a branch with presets.", code="empty-repository")
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        raise BadInputError(
            f"{shown} cannot be kept at {folder}.", evidence=str(error), fix="Check that folder.", code="not-written"
        ) from None
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
    return commit


def _clone(
    repository: PresetRepository, scheme: str, to: Path, variables: dict[str, str], shown: str, seconds: float
) -> None:
    # Nothing of a repository runs here: no hooks, no submodules, no links out of it, and no other protocol than asked.
    options = {
        "core.hooksPath": os.devnull,
        "core.symlinks": "false",
        "core.fsmonitor": "false",
        "protocol.allow": "never",
        f"protocol.{scheme}.allow": "always",
        "submodule.recurse": "false",
        "transfer.fsckObjects": "true",
        "advice.detachedHead": "false",
    }
    git = shutil.which("git", path=variables.get("PATH"))
    if git is None:
        raise BlockedError(
            f"{shown} cannot be fetched: there is no git here.",
            fix="Have git installed, or name a folder of presets instead.",
            code="no-git",
        )
    argv = [git]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    argv += ["clone", "--quiet", "--depth=1", "--single-branch", "--no-tags", "--no-recurse-submodules", "--template="]
    argv += [f"--branch={repository.branch}"] if repository.branch else []
    argv += ["--", repository.address, str(to)]
    quiet = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_ASKPASS": "true"}
    variables = {name: value for name, value in variables.items() if name not in _OF_ANOTHER}
    variables.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20")
    try:
        with _vouching(repository, scheme, to.parent) as vouched:
            status, errors = _run(argv, {**variables, **quiet, **vouched}, to.parent, seconds)
    except subprocess.TimeoutExpired:
        raise BlockedError(
            f"{shown} did not come within {seconds:.0f} s.", fix="Check the network and try again.", code="network"
        ) from None
    if status:
        said = [line for line in without_password(errors).splitlines() if line.strip()]
        fatal = [line for line in said if line.startswith("fatal:")] or said[-1:]
        raise BadInputError(
            f"{shown} could not be fetched.",
            evidence=clean(fatal[0], 300) if fatal else f"git ended with {status}",
            fix="It belongs to another user: `git config --global --add safe.directory FOLDER` lets git read it."
            if any("dubious ownership" in line for line in fatal)
            else "Check the address and the branch, and that git can read it without asking for a password.",
            code="not-fetched",
        )


def _run(argv: list[str], environ: Mapping[str, str], place: Path, seconds: float) -> tuple[int, str]:
    """Run git; its status and what it said. Raises subprocess.TimeoutExpired: then what git has started ends, too."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=dict(environ),
        cwd=place,
        start_new_session=True,
    ) as process:
        try:
            errors = process.communicate(timeout=seconds)[1]
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, errors


@contextlib.contextmanager
def _vouching(repository: PresetRepository, scheme: str, near: Path) -> Iterator[dict[str, str]]:
    """What makes git read a repository of this machine that is root's, as the administrator's is; git else refuses
    those of other users. Nothing for all others, as then the user's own settings of git count. Raises OSError.
    """
    place = Path(repository.address.removeprefix("file://"))
    try:
        vouched = scheme == "file" and os.getuid() != 0 and place.stat().st_uid == 0 and not distrust(place)
    except OSError:
        vouched = False
    if not vouched or re.search(r'["\\\n]', str(place)):
        yield {}
        return
    with tempfile.TemporaryDirectory(dir=near, prefix=".git-") as folder:
        settings = Path(folder) / "config"
        lines = "".join(f'\tdirectory = "{each}"\n' for each in (place, place / ".git", f"{place}.git"))
        settings.write_text(f"[safe]\n{lines}", "utf-8")
        yield {"GIT_CONFIG_GLOBAL": str(settings)}
