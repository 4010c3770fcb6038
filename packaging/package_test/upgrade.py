"""From the previous version: what its user made with it is there, and read, after the upgrade."""

from __future__ import annotations

import json
from functools import partial

from package_test.checks import must
from package_test.flow import HOME, QUESTION, asked, built, interpreter, kept_files, listed
from package_test.system import OPT, System
from package_test.trees import listing

FIRST = "first-home"
PAGE = "engines"
PRESET = """schema = 1
title = "Anna's own"
goal = "throughput"
description = "Made with the previous version."
toolchain = "openvino"

[precision]
weights = "int8"
"""


class Upgrade:
    """What the previous version showed, to be compared with what today's shows."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.environ: dict[str, str] = {}
        self.seen: dict[str, set[str]] = {}

    def previous(self, deb: str) -> str:
        """Today's is purged, its user's home put aside: the previous version starts in a fresh one."""
        system = self.system
        if (system.chroot.root / OPT).exists():
            system.purge()
        mine = system.chroot.home(system.user)
        (mine / HOME).rename(mine / FIRST)
        system.apt("install", "--no-install-recommends", deb)
        return system.as_user("workbench", "--version").strip()

    def engine(self) -> str:
        self.environ["WORKBENCH_OPENVINO_PYTHON"] = interpreter(self.system, FIRST)
        return built(self.system, self.environ)

    def talk(self) -> str:
        return self._chat("last")

    def _chat(self, *words: str) -> str:
        ask = f"echo '{QUESTION}' | workbench chat \"$@\" --json --temperature 0 --max-tokens 24"
        return self.system.as_user("/bin/sh", "-c", ask, "sh", *words, environ=self.environ).strip()[-100:]

    def preset(self) -> str:
        mine = self.system.chroot.home(self.system.user) / HOME / "presets"
        self.system.as_user("mkdir", "-p", f"/home/{self.system.user}/{HOME}/presets")
        (mine / "annas-own.toml").write_text(PRESET)
        must("annas-own" in self._names("presets"), "the previous version does not list it")
        return ""

    def window(self) -> str:
        found = self.system.window(f"/home/{self.system.user}/old.png", PAGE, self.environ)
        must(self._page() == PAGE, f"window.json remembers {self._page()!r}")
        return f"{found['colours']} colours, left on {PAGE}"

    def remember(self) -> str:
        for what in ("jobs", "engines", "presets"):
            self.seen[what] = self._names(what)
        self.seen["conversations"] = {path.name for path in kept_files(self.system, "conversations/*.json")}
        must(all(self.seen.values()), f"nothing of one kind: {self.seen}")
        return ", ".join(f"{len(names)} {what}" for what, names in self.seen.items())

    def upgrade(self, deb: str, version: str) -> str:
        system = self.system
        system.apt("install", "--no-install-recommends", deb)
        system.clean = listing(system.chroot.root / OPT, times=True)
        return system.version(version)

    def kept(self, what: str) -> str:
        lost = self.seen[what] - self._names(what)
        must(not lost, f"{what} that are gone: {', '.join(sorted(lost))}")
        return f"all {len(self.seen[what])}"

    def conversation(self) -> str:
        """The kept one is gone on with, so it was read; its old turns are still in it."""
        name = sorted(self.seen["conversations"])[0]
        path = kept_files(self.system, f"conversations/{name}")[0]
        before = json.loads(path.read_text())["turns"]
        self._chat("last", "--continue", path.stem)
        after = json.loads(path.read_text())["turns"]
        must(len(after) > len(before), f"{len(before)} turns before, {len(after)} after")
        must([turn["id"] for turn in before] == [turn["id"] for turn in after][: len(before)], "other turns")
        return f"{len(before)} turns before, {len(after)} now"

    def same_window(self) -> str:
        found = self.system.window(f"/home/{self.system.user}/new.png", environ=self.environ)
        must(found["page"] == PAGE, f"it opens on {found['page']!r}, left on {PAGE!r}")
        must(not kept_files(self.system, "window.*.json"), "the state of the previous version was put aside")
        return f"opens on {PAGE}"

    def _page(self) -> str:
        return str(json.loads(kept_files(self.system, "window.json")[0].read_text()).get("page", ""))

    def _names(self, what: str) -> set[str]:
        return {str(one.get("id") or one.get("key") or one["name"]) for one in listed(self.system, what, self.environ)}


def check_upgrade(system: System, previous: str, deb: str, version: str) -> None:
    """Needs the toolchain environment that the flow made."""
    work, run = Upgrade(system), system.run
    there = run("previous version installed", lambda: work.previous(previous), "toolchain installed offline")
    if there:
        system.present = "upgraded by apt"
    run("previous: engine built", work.engine, "previous version installed")
    run("previous: conversation", work.talk, "previous: engine built")
    run("previous: own preset", work.preset, "previous version installed")
    run("previous: window left", work.window, "previous version installed")
    run("previous: all is there", work.remember, "previous: conversation", "previous: own preset")
    run("upgraded by apt", lambda: work.upgrade(deb, version), "previous version installed")
    needs = ("upgraded by apt", "previous: all is there")
    for what in ("jobs", "engines", "presets"):
        run(f"upgrade keeps {what}", partial(work.kept, what), *needs)
    run("upgrade reads the conversation", work.conversation, *needs)
    run("upgrade keeps the window", work.same_window, "upgraded by apt", "previous: window left")
    run("the old engine answers", lambda: asked(system, work.environ), *needs)
    run("self-test after the upgrade", system.self_test, "upgraded by apt")
    run("nothing below /opt after it", system.whole, "upgraded by apt")
