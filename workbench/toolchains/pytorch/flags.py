"""The [build.flags] that the PyTorch toolchain knows: what of loading a model is fixed in an engine."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from workbench.core.errors import BadInputError

FLAGS: Mapping[str, tuple[Any, ...]] = {
    "mode": ("eager", "compiled"),
    "device": ("auto", "cpu", "cuda"),
    "attention": ("sdpa", "eager", "flash_attention_2", "flash_attention_3"),
    "sampling": (False, True),
}
"""Name -> its choices, the default first. `sampling`: draw tokens by each request's settings, not greedily."""


def read_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """All flags with their values. Raises BadInputError for one that is not known, or a value it does not have."""
    for name, value in given.items():
        if name not in FLAGS:
            near = difflib.get_close_matches(name, FLAGS, n=1)
            raise BadInputError(
                f"The PyTorch toolchain has no flag {name[:60]!r}.",
                evidence=f"it has: {', '.join(FLAGS)}",
                fix=f"Did you mean build.flags.{near[0]}?" if near else "Leave it out.",
                code="no-such-flag",
            )
        if not any(value == choice and type(value) is type(choice) for choice in FLAGS[name]):
            raise BadInputError(
                f"build.flags.{name} cannot be {str(value)[:60]!r}.",
                evidence=f"it is one of: {', '.join(str(choice).lower() for choice in FLAGS[name])}",
                code="bad-flag",
            )
    return {name: given.get(name, choices[0]) for name, choices in FLAGS.items()}
