"""What a self-test found, as data and in words. It is made to be sent: no names of people or machines, no secrets."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
import time
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from workbench.core.errors import Failure

REPORT_SCHEMA = 1
Status = Literal["ok", "failed", "not run"]
_MARKS: dict[Status, str] = {"ok": "ok", "failed": "FAILED", "not run": "not run"}
_TITLE_WIDTH = 26
_SHORTEST_NAME = 3
"""Names of people and machines that are shorter stand in too many other words."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Finding(_Frozen):
    """What one check found."""

    name: str
    title: str
    status: Status
    words: str
    """What was seen; for `not run`, why."""
    seconds: float
    failure: Failure | None = None

    def lines(self) -> list[str]:
        """For people; the first line stands alone."""
        first = f"{_MARKS[self.status]:<8}{self.title:<{_TITLE_WIDTH}}{self.seconds:6.1f} s  {self.words}"
        if self.failure is None:
            return [first]
        evidence = [f"          seen: {line}" for line in self.failure.evidence.splitlines()[:12]]
        return [first, *evidence, *([f"          to do: {self.failure.fix}"] if self.failure.fix else [])]


class Report(_Frozen):
    """`as_json` of `workbench self-test`; also what a file holds that is written with --out."""

    schema_version: int = REPORT_SCHEMA
    workbench: str
    at: float
    """Seconds since the epoch."""
    machine: dict[str, str]
    """Facts of the machine, in words."""
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.status == "failed")

    @property
    def ok(self) -> bool:
        """Nothing failed. What could not be run does not count against an installation, and is not called ok."""
        return not self.failed

    def verdict(self) -> str:
        """One sentence."""
        counts = {status: sum(each.status == status for each in self.findings) for status in _MARKS}
        words = f"{counts['ok']} ok, {counts['failed']} failed, {counts['not run']} not run, in {self.seconds:.1f} s."
        return f"The self-test {'passed' if self.ok else 'FAILED'}: {words}"

    def lines(self) -> list[str]:
        """The report for people."""
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.at))
        facts = [f"{name:<10}{value}" for name, value in self.machine.items()]
        found = [line for finding in self.findings for line in finding.lines()]
        return [f"Engine Workbench {self.workbench}: self-test of {when}", *facts, "", *found, "", self.verdict()]


class Scrubber:
    """Takes out of text what tells whose machine it was: home folder, user's and machine's name, passwords in URLs."""

    def __init__(self, places: Mapping[str, str] | None = None) -> None:
        """`places`: folders by the word that stands for them, such as {"/tmp/xyz": "TEMP"}."""
        home = os.path.expanduser("~")  # noqa: PTH111 - never raises
        known = {**(places or {}), **({home: "~"} if len(home) > 1 else {})}
        self._places = sorted(known.items(), key=lambda item: -len(item[0]))
        names = {socket.gethostname().partition(".")[0]: ("HOST", r"(?:\.[\w-]+)*")}  # with its domain
        with contextlib.suppress(KeyError):
            names[pwd.getpwuid(os.getuid()).pw_name] = ("USER", "")
        self._names = [
            (re.compile(rf"(?<![\w.-]){re.escape(name)}{more}(?![\w-])"), word)
            for name, (word, more) in names.items()
            if len(name) >= _SHORTEST_NAME and name not in ("root", "localhost")
        ]
        self._url = re.compile(r"(\w+://)[^\s/@]+@")
        self._key = re.compile(r"\b(?:sk|hf|ewb|nvapi)[-_][\w-]{8,}")

    def text(self, text: str) -> str:
        for place, word in self._places:
            text = re.sub(rf"{re.escape(place)}(?![\w.-])", word, text)
        for pattern, word in self._names:
            text = pattern.sub(word, text)
        return self._key.sub("SECRET", self._url.sub(r"\1", text))

    def finding(self, found: Finding) -> Finding:
        failure = found.failure
        if failure is not None:
            parts = {name: self.text(getattr(failure, name)) for name in ("what", "evidence", "fix")}
            failure = failure.model_copy(update=parts)
        return found.model_copy(update={"words": self.text(found.words), "failure": failure})
