"""Targets as files: other machines that a toolchain's steps run on, kept as `targets/NAME.toml` in the home."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.core.errors import BadInputError, Failure, WorkbenchError
from workbench.core.home import Home
from workbench.core.target import TARGET_SCHEMA, Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST = 64 * 1024


@dataclass(frozen=True)
class Targets:
    """All that stand in a home, by name; what cannot be read with the reason."""

    targets: tuple[Target, ...]
    broken: tuple[tuple[str, Failure], ...] = ()

    def __iter__(self) -> Any:
        return iter(self.targets)


def path_of(home: Home, name: str) -> Path:
    """Where a target's file stands."""
    return home.targets / f"{name}.toml"


def make_target(**fields: Any) -> Target:
    """A target from fields that a person gave. Raises BadInputError with what is wrong with them."""
    try:
        return Target(**fields)
    except ValidationError as error:
        raise BadInputError(
            "This target cannot be used.",
            evidence=_first_problem(error),
            fix="`workbench target add --help` has examples.",
            code="bad-target",
        ) from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return (f"{where}: " if where else "") + str(first["msg"]).removeprefix("Value error, ")


def read_target(path: Path) -> Target:
    """The target that a file describes. Raises BadInputError."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8")
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"The target's file cannot be read: {path}",
            evidence=str(error),
            fix=f"Mend it, or remove it: workbench target remove {path.stem}",
            code="bad-target",
        ) from error
    version = data.get("schema_version", TARGET_SCHEMA)
    if isinstance(version, int) and version > TARGET_SCHEMA:
        raise BadInputError(
            f"The target {path.stem} was written by a newer Engine Workbench.",
            evidence=f"schema {version}, this version knows {TARGET_SCHEMA}",
            fix="Update this program.",
            code="newer-schema",
        )
    try:
        return Target.model_validate({"name": path.stem, **data})
    except ValidationError as error:
        raise BadInputError(
            f"The target's file says something that cannot be: {path}",
            evidence=_first_problem(error),
            fix="Mend that line of the file.",
            code="bad-target",
        ) from error


def list_targets(home: Home) -> Targets:
    """Those of the home, by name."""
    found: list[Target] = []
    broken: list[tuple[str, Failure]] = []
    for path in sorted(home.targets.glob("*.toml")):
        try:
            found.append(read_target(path))
        except FileNotFoundError:
            continue
        except WorkbenchError as error:
            broken.append((path.stem, error.failure))
    return Targets(tuple(found), tuple(broken))


def find_target(home: Home, name: str) -> Target:
    """The target of that name. Raises BadInputError that names those there are."""
    path = path_of(home, name)
    try:
        if path.parent != home.targets:
            raise FileNotFoundError
        return read_target(path)
    except FileNotFoundError:
        names = [target.name for target in list_targets(home)]
        raise BadInputError(
            f"There is no target {name!r}.",
            evidence=f"targets: {', '.join(names)}" if names else "no target was added yet",
            fix="`workbench target list` shows them; `workbench target add` adds one.",
            code="no-such-target",
        ) from None


def save_target(home: Home, target: Target, *, replace: bool = False) -> Path:
    """Write its file. Raises BadInputError when there is one of that name, or it cannot be written."""
    import tomlkit  # 20 ms that only saving needs

    path = path_of(home, target.name)
    document = tomlkit.document()
    for key, value in target.model_dump(mode="json", exclude_defaults=True).items():
        if key != "name":
            document[key] = value
    document["schema_version"] = target.schema_version
    temporary = path.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        home.targets.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and not replace:
            raise BadInputError(
                f"There is a target {target.name} already.",
                evidence=str(path),
                fix=f"Choose another name, or remove it: workbench target remove {target.name}",
                code="target-exists",
            )
        temporary.touch(0o600)
        temporary.write_text(tomlkit.dumps(document), "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise BadInputError(
            f"The target's file cannot be written: {path}", evidence=str(error), code="not-writable"
        ) from error
    return path


def remove_target(home: Home, name: str) -> None:
    """Forget a target, a broken one too. Raises BadInputError when there is none of that name."""
    path = path_of(home, name)
    if path.parent != home.targets or not path.exists():
        find_target(home, name)
    path.unlink(missing_ok=True)
    (home.cache / "targets" / f"{name}.json").unlink(missing_ok=True)
