"""What the tables of a preset share: fields that a form can be made from, and rules among several keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

CONFLICT = "preset_conflict"


def conflict(key: str, message: str) -> PydanticCustomError:
    """A rule among values: the message is shown as it is, `key` names the one whose line is given."""
    return PydanticCustomError(CONFLICT, "{message}", {"message": message, "key": key})


def preset_field(
    default: Any, title: str, text: str, *, unit: str = "", rare: bool = False, kind: str = "", **limits: Any
) -> Any:
    """A field with what a form needs: title, help, unit ("" for none), limits. `...` as default: required.

    `rare`: few people change it, so a form shows it among others of its kind. `kind` "path": a file or folder.
    """
    extra: dict[str, Any] = {"unit": unit, "rare": rare, "kind": kind}
    return Field(default, title=title, description=text, json_schema_extra=extra, **limits)


class PresetTable(BaseModel):
    # An optional field's default is None, so that leaving its key out of the file says the same.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def preset_table(kind: Callable[[], Any], title: str, text: str) -> Any:
    return Field(default_factory=kind, title=title, description=text, json_schema_extra={"unit": ""})
