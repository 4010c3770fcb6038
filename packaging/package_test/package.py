"""What is checked on the .deb itself, without a chroot: sizes, lintian, desktop entry, AppStream, manual pages."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

from package_test.checks import Board, NotRun, call, ending, must, said

MOST_DEB_MB, MOST_INSTALLED_MB = 130.0, 350.0
"""Sizes that are promised."""
GROUP = "package"
APP = "org.engineworkbench.EngineWorkbench"
LINTIAN_S = 2400.0


class Lintian:
    """It takes minutes, so it runs beside the other checks; `close` ends it when nobody waits for it any more."""

    def __init__(self, deb: Path, wanted: bool) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.why = "left out by --no-lintian"
        if wanted and shutil.which("lintian") is None:
            self.why = "lintian is missing. To do: apt-get install lintian"
        elif wanted:
            argv = ["nice", "lintian", "--allow-root", "--tag-display-limit=0", "--fail-on=none", str(deb)]
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def check(self) -> str:
        if self.process is None:
            raise NotRun(self.why)
        text, _ = self.process.communicate(timeout=LINTIAN_S)
        kinds = {kind: [line for line in text.splitlines() if line.startswith(f"{kind}: ")] for kind in "EWI"}
        must(not kinds["E"], f"{len(kinds['E'])} errors\n" + "\n".join(kinds["E"]))
        must(self.process.returncode == 0, f"lintian ended with {self.process.returncode}\n{ending(text)}")
        warned = sorted({line.split()[2] for line in kinds["W"]})
        words = f"no errors, {len(kinds['W'])} warnings{': ' + ', '.join(warned) if warned else ''}"
        return f"{words}; it ran beside the other checks"

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def check_package(board: Board, deb: Path, scratch: Path) -> None:
    """Everything but lintian, on the unpacked package."""
    root = scratch / "unpacked"
    share = root / "usr" / "share"
    board.run(GROUP, "unpacks", lambda: _unpacked(deb, root))
    board.run(GROUP, "sizes as promised", lambda: _sizes(deb, root), "unpacks")
    entry = share / "applications" / f"{APP}.desktop"
    board.run(GROUP, "desktop-file-validate", lambda: _silent("desktop-file-validate", entry), "unpacks")
    metainfo = share / "metainfo" / f"{APP}.metainfo.xml"
    board.run(GROUP, "appstreamcli validate", lambda: _appstream(metainfo), "unpacks")
    board.run(GROUP, "man pages without warnings", lambda: _pages(share / "man", scratch), "unpacks")
    board.run(GROUP, "no link leads nowhere", lambda: _links(root), "unpacks")
    shutil.rmtree(root, ignore_errors=True)


def installed_mb(root: Path) -> float:
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def _unpacked(deb: Path, root: Path) -> str:
    said("dpkg-deb", "-x", deb, root)
    return ""


def _sizes(deb: Path, root: Path) -> str:
    package, installed = deb.stat().st_size / 1e6, installed_mb(root)
    must(package <= MOST_DEB_MB and installed <= MOST_INSTALLED_MB, f"{package:.1f} MB, installed {installed:.1f} MB")
    return f"{package:.1f} MB, installed {installed:.1f} MB"


def _tool(name: str) -> None:
    if shutil.which(name) is None:
        raise NotRun(f"{name} is missing here")


def _silent(*argv: str | Path) -> str:
    _tool(str(argv[0]))
    words = said(*argv).strip()
    must(not words, words)
    return ""


def _appstream(path: Path) -> str:
    _tool("appstreamcli")
    return ending(said("appstreamcli", "validate", "--no-net", path), 1)


def _pages(folder: Path, scratch: Path) -> str:
    _tool("man")
    pages = sorted(folder.rglob("*.[1-8].gz"))
    must(pages, f"no pages below {folder}")
    lines = []
    for page in pages:
        plain = scratch / page.stem
        plain.write_bytes(gzip.decompress(page.read_bytes()))
        done = call("env", "MANWIDTH=80", "LC_ALL=C.UTF-8", "man", "--warnings", "-E", "UTF-8", "-l", plain)
        lines += [f"{page.name}: {line}" for line in done.stderr.splitlines()]
        must(done.returncode == 0 and len(done.stdout) > 200, f"{page.name} shows nothing: {ending(done.stderr)}")
    must(not lines, "\n".join(lines))
    return f"{len(pages)} pages"


def _links(root: Path) -> str:
    wrong, seen = [], 0
    for path in root.rglob("*"):
        if path.is_symlink():
            seen += 1
            target = path.readlink()
            there = root / target.relative_to("/") if target.is_absolute() else path.parent / target
            if not there.exists():
                wrong.append(f"{path.relative_to(root)} -> {target}")
    must(not wrong, "\n".join(wrong))
    return f"{seen} links"
