"""python build_deb.py --tree DIR --libraries JSON --out DIR: the .deb of a tree; prints its path.

The tree stands at /opt/engine-workbench; what a desktop looks for is put into /usr/share, two links into /usr/bin. The
dependencies are the shared libraries that the tree needs and does not hold, no more and no fewer.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path

PACKAGING = Path(__file__).resolve().parent
sys.path.insert(0, str(PACKAGING))

from build_tree.archive import settle  # noqa: E402
from build_tree.words import Refused, called, stop  # noqa: E402

if sys.version_info >= (3, 11):
    import tomllib

PACKAGE = "engine-workbench"
OPT = Path("opt") / PACKAGE
MAINTAINER = "The Engine Workbench maintainers <maintainers@engineworkbench.invalid>"
MOST_BYTES = 130_000_000
"""Size of the package that is promised."""
DESCRIPTION = """Convert, quantize, build, prompt and compare LLM engines
 Engine Workbench takes a Hugging Face model folder to an engine that answers,
 with TensorRT-LLM, OpenVINO or PyTorch: it converts, quantizes, builds and
 verifies in background workers with live logs, prompts the engine while panels
 show memory, tokens per second and KV-cache blocks, compares precisions on
 speed and quality, and exports to Triton.
 .
 The package holds the window, the command line, and their own Python and Qt.
 Toolchains are installed by the program ("workbench toolchain install"), from
 the network or from a folder of wheels."""


def main() -> int:
    words = argparse.ArgumentParser(prog="packaging/build_deb.py", description=__doc__)
    words.add_argument("--tree", type=Path, required=True, help="the tree that is installed")
    words.add_argument("--libraries", type=Path, required=True, help="JSON of the libraries that it does not hold")
    words.add_argument("--out", type=Path, required=True, help="folder of the package")
    given = words.parse_args()
    try:
        print(build(given.tree.resolve(), given.libraries, given.out.resolve()))
    except Refused as error:
        return stop(error)
    return 0


def build(tree: Path, libraries: Path, out: Path) -> Path:
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    version = (tree / "VERSION").read_text(encoding="utf-8").split()[0]
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="engine-workbench-deb-") as scratch:
        root = Path(scratch) / "root"
        lay_out(tree, root, version, epoch)
        control(root, version, depends(json.loads(libraries.read_text(encoding="utf-8"))))
        settle(root, epoch)
        for script in (root / "DEBIAN" / "postrm",):
            script.chmod(0o755)
            os.utime(script, (epoch, epoch))
        # xz, since Debian's own tools call a zstd package malformed; one thread,
        # since the number of processors would change the blocks.
        package = out / f"{PACKAGE}_{version}_amd64.deb"
        called(["dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "-z6", "--build", root, package])
    if package.stat().st_size > MOST_BYTES:
        raise Refused(f"{package} has {package.stat().st_size / 1e6:.0f} MB; {MOST_BYTES / 1e6:.0f} MB are promised.")
    return package


def lay_out(tree: Path, root: Path, version: str, epoch: int) -> None:
    """The package's files below an empty folder."""
    place = root / OPT
    shutil.copytree(tree, place, symlinks=True)
    share = root / "usr" / "share"
    share.parent.mkdir(parents=True)
    (place / "share").rename(share)
    documents = share / "doc" / PACKAGE
    guide = documents / "guide"
    if guide.is_symlink():  # it leads out of share/ to the tree
        inside = (tree / "share" / "doc" / PACKAGE / "guide").resolve().relative_to(tree)
        guide.unlink()
        guide.symlink_to(Path("/") / OPT / inside)
    for page in sorted((share / "man").rglob("*.[1-8]")):
        zipped(page.with_name(page.name + ".gz"), page.read_bytes())
        page.unlink()
    said = f"{PACKAGE} ({version}) stable; urgency=medium\n\n  * Release {version}.\n\n -- {MAINTAINER}  "
    zipped(documents / "changelog.gz", f"{said}{formatdate(epoch)}\n".encode())
    programs = root / "usr" / "bin"
    programs.mkdir(parents=True)
    for name in ("workbench", "engine-workbench"):
        (programs / name).symlink_to(Path("/") / OPT / "bin" / name)
    overrides = share / "lintian" / "overrides" / PACKAGE
    overrides.parent.mkdir(parents=True)
    shutil.copyfile(PACKAGING / "debian" / "overrides", overrides)
    site = root / "etc" / PACKAGE / "README"
    site.parent.mkdir(parents=True)
    shutil.copyfile(PACKAGING / "debian" / "README.etc", site)


def zipped(path: Path, data: bytes) -> None:
    """Without a name or a moment in it, so that it is the same each time."""
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as out:
        out.write(data)


def depends(libraries: dict[str, dict[str, object]]) -> list[str]:
    """Packages of the libraries that must be there. Raises Refused when the table knows too few or too many."""
    known: dict[str, str] = tomllib.loads((PACKAGING / "debian" / "libraries.toml").read_text(encoding="utf-8"))
    needed = {name: entry for name, entry in libraries.items() if not entry["optional"]}
    unknown = {name: entry for name, entry in needed.items() if name not in known}
    if unknown:
        lines = [f"{name}, needed by {entry['files'][0]}" for name, entry in unknown.items()]  # type: ignore[index]
        raise Refused("debian/libraries.toml knows no package for:\n  " + "\n  ".join(lines))
    if unused := sorted(set(known) - set(needed)):
        raise Refused("debian/libraries.toml names what nothing needs: " + ", ".join(unused))
    return sorted({known[name] for name in needed})


def control(root: Path, version: str, packages: list[str]) -> None:
    folder = root / "DEBIAN"
    folder.mkdir()
    files = [path for path in sorted(root.rglob("*")) if folder not in (path, path.parent)]
    regular = [path for path in files if path.is_file() and not path.is_symlink()]
    kib = sum(-(-path.stat().st_size // 1024) for path in regular) + len(files) - len(regular)
    lines = {
        "Package": PACKAGE,
        "Version": version,
        "Architecture": "amd64",
        "Maintainer": MAINTAINER,
        "Installed-Size": str(kib),
        "Depends": ", ".join(packages),
        "Suggests": "git, openssh-client, rsync",
        "Section": "science",
        "Priority": "optional",
        "Description": DESCRIPTION,
    }
    (folder / "control").write_text("".join(f"{name}: {text}\n" for name, text in lines.items()), encoding="utf-8")
    (folder / "conffiles").write_text(f"/etc/{PACKAGE}/README\n", encoding="utf-8")
    shutil.copyfile(PACKAGING / "debian" / "postrm", folder / "postrm")
    sums = [f"{md5(path)}  {path.relative_to(root)}\n" for path in regular if not path.is_relative_to(root / "etc")]
    (folder / "md5sums").write_text("".join(sums), encoding="utf-8")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
