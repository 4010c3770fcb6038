"""Base systems: made once by debootstrap, kept as tarballs. Mirrors are the machine's own, or named by variables."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from package_test.checks import Failed, NotRun, call, ending, said
from package_test.chroot import mounts_below

FAMILIES = {"bookworm": "debian", "trixie": "debian", "jammy": "ubuntu", "noble": "ubuntu"}
"""Suites that the package is for, with trixie, whose libraries have the new names (t64) too."""
TITLES = {"bookworm": "Debian 12", "trixie": "Debian 13", "jammy": "Ubuntu 22.04", "noble": "Ubuntu 24.04"}
COMPONENTS = {"debian": "main", "ubuntu": "main,universe"}
SCRIPTS = Path("/usr/share/debootstrap/scripts")
KEYRING = "/usr/share/keyrings/{}-archive-keyring.gpg"


def mirrors_in(text: str, family: str) -> list[str]:
    """Addresses in apt's sources, of either form, whose archive is that family's main one."""
    found = re.findall(r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)", text, re.M)
    for line in re.findall(r"^\s*URIs:(.*)$", text, re.M | re.I):
        found += line.split()
    return [one for one in found if urlsplit(one).path.rstrip("/").endswith(f"/{family}")]


def mirror(family: str, environ: Mapping[str, str], apt: Path = Path("/etc/apt")) -> str:
    """Raises NotRun when neither a variable nor apt's sources name one."""
    variable = f"WORKBENCH_{family.upper()}_MIRROR"
    if named := environ.get(variable):
        return named
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    text = "\n".join(path.read_text(errors="replace") for path in files if path.is_file())
    if not (found := mirrors_in(text, family)):
        raise NotRun(f"this machine's apt sources name no mirror of {family}; name one in {variable}")
    return found[0]


def keyring(family: str, environ: Mapping[str, str]) -> Path:
    """Keys that sign the family's archive. Raises NotRun when they are not here: nothing unsigned is installed."""
    variable = f"WORKBENCH_{family.upper()}_KEYRING"
    path = Path(environ.get(variable) or KEYRING.format(family))
    if not path.is_file():
        raise NotRun(f"there are no keys of {family}'s archive at {path}; name the file in {variable}")
    return path


def base(suite: str, folder: Path, scratch: Path) -> tuple[Path, str]:
    """The suite's tarball, and how it came. Raises NotRun when none can be made here, Failed when making it failed."""
    kept = folder / f"{suite}.tar.gz"
    if kept.is_file():
        return kept, f"kept base of {kept.stat().st_size / 1e6:.0f} MB"
    if suite not in FAMILIES:
        raise NotRun(f"no base {kept.name} in {folder}, and the suite is not one of {', '.join(FAMILIES)}")
    family = FAMILIES[suite]
    if shutil.which("debootstrap") is None:
        raise NotRun("debootstrap is missing. To do: apt-get install debootstrap")
    address, keys = mirror(family, os.environ), keyring(family, os.environ)
    # A debootstrap that is older than the suite makes it all the same, by the script of its family.
    script = SCRIPTS / suite
    if not script.exists():
        script = SCRIPTS / ("gutsy" if family == "ubuntu" else "sid")
    root = scratch / f"base-{suite}"
    words = ["debootstrap", "--variant=minbase", f"--keyring={keys}", f"--components={COMPONENTS[family]}"]
    done = call(*words, suite, root, address, script)
    try:
        if done.returncode:
            raise Failed(f"debootstrap ended with {done.returncode}:\n{ending(done.stdout + done.stderr)}")
        folder.mkdir(parents=True, exist_ok=True)
        made = kept.with_suffix(".part")
        said("tar", "--numeric-owner", "-cpzf", made, "-C", root, ".")
        made.replace(kept)
    finally:
        for point in mounts_below(root, Path("/proc/mounts").read_text()):
            call("umount", point)
        call("rm", "-rf", "--one-file-system", root)
    return kept, "made by debootstrap"
