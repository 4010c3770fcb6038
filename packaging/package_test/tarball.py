"""The tarball: unpacked and used by an ordinary user, from a folder whose name has a space."""

from __future__ import annotations

from package_test.checks import must
from package_test.system import System
from package_test.trees import differences, listing, shortened

PLACE = "my programs"


def check_tarball(system: System, tarball: str, version: str) -> None:
    """Needs the libraries that apt installed with the package, and not the package."""
    system.run("tarball unpacked by a user", lambda: unpacked(system, tarball), "apt installs it")
    system.run("tarball: version and self-test", lambda: used(system, version), "tarball unpacked by a user")


def unpacked(system: System, tarball: str) -> str:
    place = f"/home/{system.user}/{PLACE}"
    system.as_user("mkdir", "-p", place)
    system.chroot.root_run("apt-get", "-q", "-y", "install", "--no-install-recommends", "xz-utils")
    system.as_user("tar", "-xf", tarball, "-C", place)
    return place


def used(system: System, version: str) -> str:
    place = system.chroot.home(system.user) / PLACE
    tree = next(place.iterdir())
    before = listing(tree, times=True)
    program = f"/home/{system.user}/{PLACE}/{tree.name}/bin/workbench"
    environ = {"WORKBENCH_HOME": f"/home/{system.user}/tarball-home"}
    said = system.as_user(program, "--version", environ=environ).strip()
    must(version in said, f"{said!r}, not {version}")
    words = ["self-test", "--quick", "--patience", f"{system.patience:g}"]
    system.as_user(program, *words, environ=environ, seconds=900)
    must(not (wrong := differences(before, listing(tree, times=True))), f"written into its tree: {shortened(wrong)}")
    return f"{said}, from {PLACE!r}"
