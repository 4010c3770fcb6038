"""Runtime settings as a host takes them from its spec: unknown ones are logged, wrong ones told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from workbench.workers.protocol import Channel, WorkerError

M = TypeVar("M", bound=BaseModel)


def checked_settings(model: type[M], given: Mapping[str, Any], channel: Channel) -> M:
    """The settings as `model` has them; None counts as left out. Raises WorkerError `bad-settings`."""
    unknown = sorted(set(given) - set(model.model_fields))
    if unknown:
        channel.log(f"settings that this host does not know are ignored: {', '.join(unknown)}", "warning")
    try:
        return model.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise WorkerError(
            f"the engine's setting {'.'.join(map(str, first['loc']))} cannot be used",
            code="bad-settings",
            cause=f"{first['input']!r}: {first['msg']}",
            hint="Correct the runtime settings of the preset.",
        ) from error
