"""The [build.flags] that the ONNX Runtime toolchain knows: what of running is fixed in an engine."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from workbench.core.errors import BadInputError

FLAGS: Mapping[str, tuple[str, ...]] = {"device": ("auto", "cpu", "cuda")}
"""Name -> its choices, the default first."""


def read_flags(given: Mapping[str, Any]) -> dict[str, str]:
    """All flags with their values. Raises BadInputError for one that is not known, or a value it does not have."""
    for name, value in given.items():
        if name not in FLAGS:
            near = difflib.get_close_matches(name, FLAGS, n=1)
            raise BadInputError(
                f"The ONNX Runtime toolchain has no flag {name[:60]!r}.",
                evidence=f"it has: {', '.join(FLAGS)}",
                fix=f"Did you mean build.flags.{near[0]}?" if near else "Leave it out.",
                code="no-such-flag",
            )
        if value not in FLAGS[name]:
            raise BadInputError(
                f"build.flags.{name} cannot be {str(value)[:60]!r}.",
                evidence=f"it is one of: {', '.join(FLAGS[name])}",
                code="bad-flag",
            )
    return {name: given.get(name, choices[0]) for name, choices in FLAGS.items()}
