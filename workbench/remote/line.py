"""A connection that may be cut: what is asked of it is asked again once it stands again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from workbench.core.errors import BadInputError, StepFailedError
from workbench.remote.order import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    PATIENCE_SECONDS,
    PATIENCE_VARIABLE,
    WAIT_VARIABLE,
    seconds_of,
)
from workbench.remote.transport import CutError, Transport
from workbench.remote.wire import Wire
from workbench.remote.words import NoConnectionError

T = TypeVar("T")
_SHORT_SECONDS, _SHORT_TIMES = 10.0, 6
"""So often cut so soon is no accident."""


class Line:
    """Keeps a transport connected. `going_on` says, in words, what becomes of the work meanwhile."""

    def __init__(self, transport: Transport, wire: Wire) -> None:
        self.transport, self.wire = transport, wire
        self.going_on = "Nothing runs there yet."
        self.on_cut: Callable[[], None] = lambda: None
        self.on_again: Callable[[], None] = lambda: None
        self.cuts = 0

    def patiently(self, work: Callable[[], T]) -> T:
        """Do it, and do it again after each cut. `work` must bear being done twice."""
        short = 0
        while True:
            began = time.monotonic()
            try:
                return work()
            except CutError as cut:
                short = short + 1 if time.monotonic() - began < _SHORT_SECONDS else 0
                if short >= _SHORT_TIMES:
                    raise StepFailedError(
                        f"The connection to {self.transport.title} breaks each time at the same thing.",
                        evidence=str(cut),
                        fix=f"{self.going_on} The job's log may say more.",
                        code="connection-lost",
                    ) from None
                self.mend(cut)

    def mend(self, cut: CutError) -> None:
        """Connect again, with growing waits. Raises StepFailedError when it takes too long, BadInputError when it
        cannot be: another host key."""
        self.cuts += 1
        title = self.transport.title
        patience = seconds_of(PATIENCE_VARIABLE, PATIENCE_SECONDS)
        wait = seconds_of(WAIT_VARIABLE, FIRST_WAIT_SECONDS)
        began = time.monotonic()
        reason = str(cut)
        self.wire.log(f"The connection to {title} was cut ({reason}). {self.going_on} Connecting again.", "warning")
        self.on_cut()
        while True:
            time.sleep(wait)
            try:
                self.transport.connect()
                break
            except NoConnectionError as error:
                reason = f"{error.what} {error.evidence}".strip()
            except CutError as error:
                reason = str(error)
            except BadInputError as error:
                # A refused login may be a server that is being set up; another key is another machine.
                if error.failure.code != "login-refused":
                    raise
                reason = f"{error.what} {error.evidence}".strip()
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            gone = time.monotonic() - began
            if gone + wait > patience:
                raise StepFailedError(
                    f"The connection to {title} was lost, and none could be made for {_long(gone)}.",
                    evidence=reason,
                    fix=f"{self.going_on} Retry once {title} can be reached: a run there is picked up.",
                    code="connection-lost",
                )
            self.wire.log(f"Still no connection to {title}: {reason} Next try in {wait:.0f} s.", "warning")
        self.wire.log(f"Connected to {title} again after {time.monotonic() - began:.0f} s.")
        self.on_again()


def _long(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
