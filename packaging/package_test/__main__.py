"""python -m package_test … DEB: called by packaging/test_package.sh."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from package_test import bases, results
from package_test.checks import Board, call, said
from package_test.chroot import Chroot, mounts_below
from package_test.flow import check_flow
from package_test.package import GROUP, Lintian, check_package
from package_test.system import System, check_going, check_system
from package_test.tarball import check_tarball
from package_test.trees import sha256
from package_test.upgrade import check_upgrade

PACKAGING = Path(__file__).resolve().parents[1]
SUITES = ("bookworm", "noble", "jammy")


def main() -> int:
    given = words().parse_args()
    for path in (given.deb, given.previous, given.tarball):
        if path is not None and not path.is_file():
            return refused(f"{path} is no file. To do: bash packaging/build.sh, then name what it made.")
    if os.geteuid() != 0:
        return refused("Chroots are root's to make. To do: sudo bash packaging/test_package.sh …")
    if given.flow and given.wheels is None:
        return refused("--flow needs --wheels: workbench toolchain bundle openvino --out DIR --python-version 3.12")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    suites = given.suite if given.suite is not None else list(SUITES)
    board, about = Board(), dict[str, Any]()
    scratch = Path(tempfile.mkdtemp(prefix="engine-workbench-test-", dir=given.scratch))
    scratch.chmod(0o755)
    version = field(given.deb, "Version")
    lintian = None
    try:
        if not given.no_package:
            lintian = Lintian(given.deb, not given.no_lintian)
            check_package(board, given.deb, scratch)
        for suite in suites:
            about[suite] = one_suite(board, suite, given, scratch, version)
        if lintian is not None:
            board.run(GROUP, "lintian", lintian.check)
    except KeyboardInterrupt:
        print("Interrupted; everything that was made is taken away.", flush=True)
        return 130
    finally:
        if lintian is not None:
            lintian.close()
        if not mounts_below(scratch, Path("/proc/mounts").read_text()):
            call("rm", "-rf", "--one-file-system", scratch)
    if given.results is not None:
        results.write(given.results, given.outcomes, facts(given, version), board.done, about)
    print(f"{len(board.done)} checks, {len(board.failed)} failed", flush=True)
    return 1 if board.failed else 0


def words() -> argparse.ArgumentParser:
    says = argparse.ArgumentParser(
        prog="packaging/test_package.sh", description="Proves a built .deb in fresh chroots."
    )
    says.add_argument("deb", type=Path, metavar="DEB")
    says.add_argument(
        "--suite", action="append", choices=sorted(bases.FAMILIES), help="suites (default: those it is for)"
    )
    flow = "suites in which a toolchain comes offline, the demo engine is built, and --previous is upgraded"
    says.add_argument("--flow", action="append", default=[], choices=sorted(bases.FAMILIES), help=flow)
    says.add_argument("--wheels", type=Path, help="folder that `workbench toolchain bundle openvino` made")
    says.add_argument("--previous", type=Path, metavar="DEB", help="package of the version before, to upgrade from")
    says.add_argument("--tarball", type=Path, help="the tarball of the same version")
    kept = PACKAGING.parent / ".cache"
    made = "folder of base systems, SUITE.tar.gz; made there when missing"
    says.add_argument("--bases", type=Path, default=kept / "chroots", help=made)
    says.add_argument(
        "--scratch", type=Path, help="where the chroots are made, about 12 GB with --flow (default: TMPDIR)"
    )
    says.add_argument(
        "--patience", type=float, default=4.0, help="factor on the time that a self-test's check may take"
    )
    says.add_argument("--no-lintian", action="store_true", help="leave lintian out; it takes minutes")
    says.add_argument(
        "--no-package", action="store_true", help="suites alone, without the checks on the package itself"
    )
    says.add_argument("--results", type=Path, help="write the table there: packaging/RESULTS.md")
    earlier = "outcomes of earlier runs on the same package, which stay in the table"
    says.add_argument("--outcomes", type=Path, default=kept / "package-test.json", help=earlier)
    return says


def one_suite(board: Board, suite: str, given: argparse.Namespace, scratch: Path, version: str) -> dict[str, Any]:
    """All checks in one suite; what is to be known of it."""
    found: dict[str, Path] = {}

    def base() -> str:
        found["base"], how = bases.base(suite, given.bases, scratch)
        return how

    if not board.run(suite, "a base", base):
        return {}
    with Chroot(found["base"], scratch, suite) as chroot:
        inside = chroot.root / "package"
        inside.mkdir()
        debs = {"deb": given.deb, "previous": given.previous, "tarball": given.tarball}
        there = {name: f"/package/{path.name}" for name, path in debs.items() if path is not None}
        for path in (path for path in debs.values() if path is not None):
            shutil.copyfile(path, inside / path.name)
        shutil.copytree(Path(__file__).with_name("inside"), inside / "inside")
        if given.wheels is not None:
            chroot.bind(given.wheels.resolve(), "wheels")
        system = System(board, suite, chroot, given.patience)
        check_system(system, there["deb"], version)
        pulled = system.pulled
        if suite in given.flow:
            check_flow(system)
            if "previous" in there:
                check_upgrade(system, there["previous"], there["deb"], version)
        check_going(system, there["deb"], version)
        if "tarball" in there:
            check_tarball(system, there["tarball"], version)
        release = (chroot.root / "etc" / "os-release").read_text()
    return {"system": release.split('PRETTY_NAME="')[1].split('"')[0], "pulled": pulled}


def facts(given: argparse.Namespace, version: str) -> dict[str, str]:
    known = {
        "date": results.today(),
        "commit of the test": results.commit(PACKAGING.parent),
        "package": f"{given.deb.name}, {given.deb.stat().st_size / 1e6:.1f} MB",
        "package's SHA-256": sha256(given.deb),
        "installed size": f"{int(field(given.deb, 'Installed-Size')) * 1024 / 1e6:.0f} MB",
        "depends": field(given.deb, "Depends"),
    }
    if given.tarball is not None:
        known["tarball"] = f"{given.tarball.name}, {given.tarball.stat().st_size / 1e6:.1f} MB"
        known["tarball's SHA-256"] = sha256(given.tarball)
    if given.previous is not None:
        known["upgraded from"] = f"{field(given.previous, 'Version')}, SHA-256 {sha256(given.previous)}"
    return known


def field(deb: Path, name: str) -> str:
    return said("dpkg-deb", "-f", deb, name).strip()


def refused(text: str) -> int:
    sys.stderr.write(f"The package cannot be tested. {text}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
