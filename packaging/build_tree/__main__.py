"""python -m build_tree --source DIR --lock FILE --out DIR [--only tree|tarball|deb]: called by packaging/build.sh."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from build_tree import archive, compiled, components, elf, interpreter, launchers, licences, prune, sbom, wheels
from build_tree.words import Refused, called, say, size_mb, stop

PACKAGING = Path(__file__).resolve().parents[1]
PROGRAM = licences.PROGRAM
PLACE = "opt/engine-workbench"
MOST_MB = 350.0
"""Installed size that is promised."""


def main() -> int:
    words = argparse.ArgumentParser(prog="packaging/build.sh", description=__doc__)
    words.add_argument("--source", type=Path, default=PACKAGING.parent, help="the sources (default: this checkout)")
    words.add_argument("--lock", type=Path, help="the locked libraries (default: the sources' own, else this one's)")
    words.add_argument("--out", type=Path, default=PACKAGING.parent / "dist", help="where the results go")
    words.add_argument("--only", choices=("tree", "tarball", "deb"), help="one of the results (default: all)")
    given = words.parse_args()
    try:
        build(given.source.resolve(), given.lock, given.out.resolve(), given.only)
    except Refused as error:
        return stop(error)
    return 0


def build(source: Path, lock: Path | None, out: Path, only: str | None) -> None:
    if not (source / "pyproject.toml").is_file():
        raise Refused(f"{source} holds no sources of the program (no pyproject.toml).")
    for name in ("strip", "patchelf", "xz"):
        if shutil.which(name) is None:
            raise Refused(f"The program {name} is missing. To do: apt-get install binutils xz-utils")
    version, epoch = version_of(source), epoch_of(source)
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    os.umask(0o022)
    own_lock = source / "packaging" / "requirements.lock"
    lock = lock or (own_lock if own_lock.is_file() else PACKAGING / "requirements.lock")
    out.mkdir(parents=True, exist_ok=True)
    name = f"{PROGRAM}-{version}"
    tree = out / name
    with tempfile.TemporaryDirectory(prefix="engine-workbench-build-") as scratch:
        made = Path(scratch) / name
        made.mkdir()
        make_tree(made, source, lock, version, epoch, Path(scratch))
        external = elf.as_json(made)
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(made, tree, symlinks=True)
    archive.settle(tree, epoch)
    libraries = out / f"{name}-external-libraries.json"
    libraries.write_text(external, encoding="utf-8")
    table(tree)
    results = []
    if only in (None, "tarball"):
        say("The tarball")
        tarball = out / f"{name}-linux-x86_64.tar.xz"
        archive.pack(tree, tarball, epoch)
        results.append(tarball)
    if only in (None, "deb"):
        say("The Debian package")
        argv: list[str | Path] = [
            sys.executable,
            PACKAGING / "build_deb.py",
            "--tree",
            tree,
            "--libraries",
            libraries,
            "--out",
            out,
        ]
        results += [Path(line) for line in called(argv).splitlines() if line.endswith(".deb")]
    if results:
        archive.write_sums(out, [path if path.is_absolute() else out / path for path in results])
        print((out / "SHA256SUMS").read_text(encoding="utf-8"), end="")


def make_tree(tree: Path, source: Path, lock: Path, version: str, epoch: int, scratch: Path) -> None:
    """The whole installed tree below an empty folder. Raises Refused."""
    runtime = tree / "runtime"
    site = runtime / "lib" / "python3.12" / "site-packages"
    base = interpreter.find()
    say(f"The interpreter: Python {base.version} of {base.prefix}")
    interpreter.copy(base, runtime)
    libraries = interpreter.bundle(runtime)
    print("   with " + ", ".join(f"{one.soname} ({one.file})" for one in libraries))
    say(f"The locked libraries of {lock} and the program of {source}")
    wheel = wheels.wheel_of(source, scratch / "wheel")
    hashes = wheels.install(runtime, lock, wheel, scratch)
    table_of = [
        *components.wheels(site, hashes),
        components.interpreter(base),
        *components.bundled(libraries),
        *components.qt(site),
        *components.data(site),
    ]
    say("Licences and the list of materials")
    licences.write_texts(tree, table_of)
    notice = "the authors of Engine Workbench"
    documents = tree / "share" / "doc" / PROGRAM
    documents.mkdir(parents=True)
    (documents / "copyright").write_text(licences.copyright_file(table_of, PLACE, notice), encoding="utf-8")
    count = sbom.write(tree / "sbom.cdx.json", table_of, epoch)
    print(f"   {len(table_of)} components, {count} with what is compiled into them")
    say("Without what is never loaded")
    before = size_mb(tree)
    prune.prune(site)
    wheels.true_records(site)
    print(f"   {before:.0f} MB before, {size_mb(tree):.0f} MB after")
    launchers.write(tree)
    say("Bytecode")  # after it nothing may change below runtime/
    compiled.compile_all(runtime)
    elf.check(tree)
    say("Whether everything can be imported from it")
    imports(runtime)
    no_traces(tree, [str(path) for path in (base.prefix, tree.parent, source) if not path.is_relative_to("/usr")])
    (tree / "VERSION").write_text(f"{version}\n{commit_of(source)}\n", encoding="utf-8")
    share(tree)
    finish(tree)


_IMPORTS = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("error")
import site, workbench
if site.ENABLE_USER_SITE:
    print("0\\nsite: packages of a person's home folder come first")
    sys.exit()
names = [one.name for one in pkgutil.walk_packages(workbench.__path__, "workbench.")]
names = [name for name in names if not name.endswith("__main__")]
names += ["PySide6.QtSvgWidgets", "PySide6.QtDBus", "fpdf", "PIL.Image", "huggingface_hub.hf_api", "rich.markdown",
          "rich.traceback", "tritonclient.grpc", "keyring.backends.SecretService", "ssl", "sqlite3", "readline", "lzma",
          "bz2", "ctypes", "curses", "uuid", "venv", "numpy.testing", "numpy.random", "pip._internal.cli.main"]
bad = []
for name in names:
    try:
        importlib.import_module(name)
    except BaseException as error:
        bad.append(f"{name}: {type(error).__name__}: {error}")
print(len(names))
print("\\n".join(bad))
"""


def imports(runtime: Path) -> None:
    """Every module of the program, and what it loads late. Raises Refused with what was pruned too far."""
    argv: list[str | Path] = [runtime / "bin" / "python3.12", "-P", "-B", "-c", _IMPORTS]
    said = called(argv, environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}).splitlines()
    bad = [line for line in said[1:] if line]
    if bad:
        raise Refused("These cannot be imported from the tree:\n  " + "\n  ".join(bad[:20]))
    print(f"   {said[0]} modules")


def share(tree: Path) -> None:
    """Desktop entry, icons, manual and completion: made by a script of their own, where there is one."""
    script = PACKAGING / "build_share.py"
    if script.is_file():
        say("Desktop entry, icons, manual, completion")
        called([sys.executable, script, "--tree", tree])


def finish(tree: Path) -> None:
    """The list of files with their digests, by which the self-test knows a damaged installation."""
    python = tree / "runtime" / "bin" / "python3.12"
    writer = tree / "runtime" / "lib" / "python3.12" / "site-packages" / "workbench" / "selftest" / "manifest.py"
    if writer.is_file():  # older sources have no self-test
        called([python, "-I", "-m", "workbench.selftest.manifest", tree])


def no_traces(tree: Path, words: list[str]) -> None:
    """Raises Refused when a file holds a path of the build: it would differ on another machine."""
    found = []
    for path in sorted(tree.rglob("*")):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found += [f"{path.relative_to(tree)}: {word}" for word in words if word.encode() in data]
    if found:
        raise Refused("Paths of the build machine are left in:\n  " + "\n  ".join(found[:30]))


def version_of(source: Path) -> str:
    match = re.search(r"^__version__ = \"([^\"]+)\"", (source / "workbench" / "__init__.py").read_text(), re.MULTILINE)
    if match is None:
        raise Refused(f"{source}/workbench/__init__.py names no __version__.")
    return match[1]


def epoch_of(source: Path) -> int:
    """Seconds: SOURCE_DATE_EPOCH, else the moment of the sources' commit."""
    said = os.environ.get("SOURCE_DATE_EPOCH") or _git(source, "log", "-1", "--format=%ct")
    if not said.isdigit():
        raise Refused(f"{source} is no git checkout, so the build has no date. To do: set SOURCE_DATE_EPOCH.")
    return int(said)


def commit_of(source: Path) -> str:
    commit = _git(source, "rev-parse", "HEAD")
    changed = _git(source, "status", "--porcelain") if commit else ""
    return f"commit {commit}{' with changes' if changed else ''}" if commit else "commit not known"


def _git(folder: Path, *words: str) -> str:
    program = shutil.which("git")
    if program is None:
        return ""
    done = subprocess.run([program, "-C", str(folder), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def table(tree: Path) -> None:
    """Prints the largest parts; raises Refused over the promised size."""
    site = tree / "runtime" / "lib" / "python3.12" / "site-packages"
    parts = [(size_mb(path), path) for path in (*site.iterdir(), *(tree / "runtime").iterdir()) if path.is_dir()]
    total = size_mb(tree)
    say(f"Installed size {total:.1f} MB")
    for size, path in sorted(parts, reverse=True)[:14]:
        print(f"   {size:7.1f} MB  {path.relative_to(tree)}")
    if total > MOST_MB:
        raise Refused(f"The tree holds {total:.0f} MB; {MOST_MB:.0f} MB are promised. prune.py lists what is dropped.")


if __name__ == "__main__":
    sys.exit(main())
