"""The tree as one file: the same bytes from the same tree, wherever and whenever it is packed."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from pathlib import Path

from build_tree.words import called

_XZ = ("xz", "--threads=2", "--block-size=32MiB", "--x86", "--lzma2=preset=6,dict=16MiB", "--check=crc64", "--force")
"""Blocks of a fixed size: how many processors there are does not change a byte."""


def settle(tree: Path, epoch: int) -> None:
    """One moment, one owner's rights: nothing of the build machine's umask or clock is left."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            runs = path.is_dir() or (path.stat().st_mode & stat.S_IXUSR and not _is_read_only_data(path))
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (epoch, epoch))


def _is_read_only_data(path: Path) -> bool:
    """Libraries, modules and notes on packages: some wheels mark them as programs, and nobody runs them as one."""
    return path.suffix == ".py" or ".so" in path.suffixes or path.parent.suffix == ".dist-info"


def pack(tree: Path, target: Path, epoch: int) -> None:
    """`target` is NAME.tar.xz; the tree's own name is the top folder in it."""
    plain = target.with_suffix("")
    with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in [tree, *sorted(tree.rglob("*"))]:
            info = tar.gettarinfo(path, arcname=f"{tree.name}/{path.relative_to(tree)}".rstrip("/."))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = epoch
            if info.islnk():
                info.type, info.size = tarfile.REGTYPE, path.stat().st_size
            if info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    called([*_XZ, plain])


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def write_sums(folder: Path, files: list[Path]) -> None:
    """SHA256SUMS, as `sha256sum -c` reads it; what an earlier build left for other files is dropped."""
    lines = [f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in sorted(files)]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
