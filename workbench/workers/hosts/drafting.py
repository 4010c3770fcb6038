"""Speculative decoding as a host counts it: guesses, those that were kept, and the passes that checked them."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.core.messages import Drafted


@dataclass
class DraftCount:
    """Counts of one answer, or of all since the engine was loaded; None: not reported."""

    draft_tokens: int | None = None
    accepted_tokens: int | None = None
    passes: int | None = None

    def add(self, accepted: int, drafted: int | None) -> None:
        """One pass of the engine that brought `accepted` guesses and a token of its own, of `drafted` guesses."""
        self.accepted_tokens = (self.accepted_tokens or 0) + accepted
        self.passes = (self.passes or 0) + 1
        if drafted is not None:
            self.draft_tokens = (self.draft_tokens or 0) + drafted

    def add_all(self, accepted: int, drafted: int, passes: int | None) -> None:
        """Several passes at once, as a library counts them."""
        self.accepted_tokens = (self.accepted_tokens or 0) + accepted
        self.draft_tokens = (self.draft_tokens or 0) + drafted
        if passes is not None:
            self.passes = (self.passes or 0) + passes

    @property
    def message(self) -> Drafted | None:
        """None where nothing is reported."""
        if self.draft_tokens is None and self.accepted_tokens is None and self.passes is None:
            return None
        return Drafted(draft_tokens=self.draft_tokens, accepted_tokens=self.accepted_tokens, passes=self.passes)
