"""The package in one suite: installed by apt, used, kept whole, removed, installed again, purged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from package_test.checks import Board, Failed, must
from package_test.chroot import Chroot
from package_test.trees import differences, listing, shortened, traces

PACKAGE = "engine-workbench"
OPT = Path("opt") / PACKAGE
PYTHON = f"/{OPT}/runtime/bin/python3.12"
INSIDE = Path(__file__).with_name("inside")
SITE = "etc/engine-workbench"
PLUGINS = ("platforms", "wayland-*", "xcbglintegrations", "imageformats", "iconengines", "tls")
GOOD = ("ok", "not run")
COLOURS = 12
"""A picture with fewer is blank."""


class System:
    """A chroot with the package's file in it, and one ordinary user, anna."""

    user = "anna"

    def __init__(self, board: Board, suite: str, chroot: Chroot, patience: float) -> None:
        self.board, self.suite, self.chroot, self.patience = board, suite, chroot, patience
        self.pulled: list[str] = []
        self.clean: dict[str, str] = {}
        self.present = "apt installs it"
        """The check after which the package is there in the version that is tested."""

    def run(self, name: str, work: Callable[[], str | None], *needs: str) -> bool:
        return self.board.run(self.suite, name, work, *needs)

    def as_user(self, *argv: str, seconds: float = 600.0, environ: Mapping[str, str] | None = None) -> str:
        return self.chroot.user_run(self.user, *argv, seconds=seconds, environ=environ)

    # -- packages

    def prepare(self) -> str:
        """The user, apt's lists, the test's own folders."""
        self.chroot.add_user(self.user)
        self.chroot.root_run("apt-get", "update", "-q")
        return (self.chroot.root / "etc" / "os-release").read_text().split('PRETTY_NAME="')[1].split('"')[0]

    def packages(self) -> set[str]:
        said = self.chroot.root_run("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n")
        return {" ".join(line.split()[:2]) for line in said.splitlines() if line.split()[-1].startswith("ii")}

    def apt(self, *words: str) -> str:
        """Without a terminal and without an answer to any question."""
        return self.chroot.root_run("apt-get", "-q", "-y", *words, environ={"DEBIAN_FRONTEND": "noninteractive"})

    def install(self, deb: str) -> str:
        before = self.packages()
        self.apt("install", "--no-install-recommends", deb)
        self.pulled = sorted(self.packages() - before)
        self.clean = listing(self.chroot.root / OPT, times=True)
        return f"{len(self.pulled)} packages with {len(self.clean)} paths below /{OPT}"

    def whole(self) -> str:
        """dpkg's own sums, and nothing came, went or changed below /opt since it was installed."""
        if said := self.chroot.root_run("dpkg", "--verify", PACKAGE).strip():
            raise Failed(said)
        wrong = differences(self.clean, listing(self.chroot.root / OPT, times=True))
        must(not wrong, shortened(wrong, 20))
        return f"{len(self.clean)} paths as installed"

    # -- use

    def version(self, wanted: str) -> str:
        said = self.as_user("workbench", "--version").strip()
        must(wanted in said, f"{said!r}, not {wanted}")
        must(wanted in self.as_user("engine-workbench", "--version"), "engine-workbench has another version")
        return said

    def self_test(self, *, toolchain: bool = False) -> str:
        words = ["workbench", "self-test", "--json", "--patience", f"{self.patience:g}"]
        text = self.as_user("/bin/sh", "-c", '"$@" || echo "exit $?"', "sh", *words, seconds=900)
        report = json.loads(text[: text.rindex("}") + 1])
        checks = report["findings"]
        bad = [f"{one['name']}: {one['status']}: {one['words']}" for one in checks if one["status"] not in GOOD]
        must(not bad and "\nexit " not in text, "\n".join(bad) or text[-500:])
        left = [one["name"] for one in checks if one["status"] == "not run"]
        must(not (toolchain and "engine" in left), f"not run: {left}")
        return f"{len(checks) - len(left)} of {len(checks)} ok" + (f", not run: {', '.join(left)}" if left else "")

    def window(self, picture: str, page: str = "", environ: Mapping[str, str] | None = None) -> dict[str, object]:
        """Opens and draws the window; what inside/window.py says. Raises Failed for a blank picture."""
        said = self.as_user(
            PYTHON, "-P", "-B", "/package/inside/window.py", picture, *([page] if page else []), environ=environ
        )
        found: dict[str, object] = json.loads(said.strip().splitlines()[-1])
        file = self.chroot.root / picture.lstrip("/")
        must(file.read_bytes()[:4] == b"\x89PNG", f"{picture} is no PNG")
        must(int(str(found["colours"])) > COLOURS, f"the picture has {found['colours']} colours")
        return found

    def picture(self) -> str:
        found = self.window(f"/home/{self.user}/window.png", "doctor")
        return f"{found['size']} with {found['colours']} colours"

    def libraries(self) -> str:
        """Every plugin that Qt may load finds all its libraries."""
        places = " ".join(
            f"/{OPT}/runtime/lib/python3.12/site-packages/PySide6/Qt/plugins/{one}/*.so" for one in PLUGINS
        )
        said = self.as_user("/bin/sh", "-c", f'for f in {places}; do [ -e "$f" ] && echo "$f" && ldd "$f"; done; true')
        lost = sorted(set(re.findall(r"(\S+) => not found", said)))
        must(not lost, "not found: " + ", ".join(lost))
        return f"{said.count('/plugins/')} plugins"

    def completion(self) -> str:
        """Each shell's file is there; bash's is loaded and asked."""
        share = self.chroot.root / "usr" / "share"
        files = ("bash-completion/completions/workbench", "zsh/vendor-completions/_workbench")
        lost = [name for name in (*files, "fish/vendor_completions.d/workbench.fish") if not (share / name).is_file()]
        must(not lost, f"missing: {', '.join(lost)}")
        ask = (
            f'. /usr/share/{files[0]}; set -- $(complete -p workbench); while [ "$1" != -F ]; do shift; done; '
            "COMP_WORDS=(workbench toolc); COMP_CWORD=1; COMP_LINE='workbench toolc'; COMP_POINT=15; "
            '"$2" workbench toolc workbench; echo "${COMPREPLY[@]}"'
        )
        said = self.as_user("/bin/bash", "-c", ask).strip()
        must("toolchain" in said, f"bash offers {said!r} for: workbench toolc")
        return "bash offers toolchain for toolc"

    def as_root(self) -> str:
        """What an administrator may start; its state goes to root's own folder."""
        for words in (("--version",), ("doctor",), ("presets",), ("self-test", "--quick", "--patience", "10")):
            self.chroot.root_run("/bin/sh", "-c", 'QT_QPA_PLATFORM=offscreen workbench "$@" >/dev/null', "sh", *words)
        return "version, doctor, presets, self-test"

    # -- going

    def data(self) -> dict[str, str]:
        """All that the user has."""
        return listing(self.chroot.home(self.user))

    def remove(self) -> str:
        """The site's settings stay, being the administrator's; everything else that is not a user's goes."""
        own = self.chroot.root / SITE / "50-lab.toml"
        own.write_text("schema = 1\n")
        before = self.data()
        self.apt("remove", PACKAGE)
        must(not (wrong := differences(before, self.data())), f"the user's data: {shortened(wrong)}")
        must(traces(self.chroot.root) == [SITE], f"left: {shortened(traces(self.chroot.root), 20)}")
        must(own.is_file(), "the site's settings are gone")
        return f"the user's {len(before)} paths and /{SITE} are left"

    def purge(self) -> str:
        before = self.data()
        said = self.chroot.root_run("dpkg", "--purge", PACKAGE)
        must(not re.search(r"\[[yY]/[nN]\]|\?\s*$", said), f"it asks: {said}")
        must(not (wrong := differences(before, self.data())), f"the user's data: {shortened(wrong)}")
        must(not traces(self.chroot.root), f"left: {shortened(traces(self.chroot.root), 20)}")
        must(not list((self.chroot.root / "opt").glob("*")), "something is left in /opt")
        return "nothing in /opt, /etc, /usr; nothing asked; the user's data as before"


def check_system(system: System, deb: str, version: str) -> None:
    """From the first installation to use as a user and as root."""
    run = system.run
    run("the base system", system.prepare)
    run("apt installs it", lambda: system.install(deb), "the base system")
    needs = "apt installs it"
    run("Qt's plugins find their libraries", system.libraries, needs)
    run("version", lambda: system.version(version), needs)
    run("completion", system.completion, needs)
    run("window drawn to a PNG", system.picture, needs)
    run("self-test", system.self_test, needs)
    run("root uses it", system.as_root, needs)
    run("nothing written below /opt", system.whole, needs)


def check_going(system: System, deb: str, version: str) -> None:
    """Removed, installed again, purged."""
    run = system.run
    run("remove leaves only data and settings", system.remove, system.present)
    run("installed again", lambda: system.install(deb), "remove leaves only data and settings")
    run("version after that", lambda: system.version(version), "installed again")
    run("purge leaves nothing", system.purge, system.present)
