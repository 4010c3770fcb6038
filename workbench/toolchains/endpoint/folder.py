"""Endpoint folders: an engine folder that holds a description of a server, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

from pydantic import ValidationError

from workbench import __version__
from workbench.core.artifact import (
    PARTIAL_SUFFIX,
    PROVENANCE_FILE,
    FileEntry,
    Machine,
    Provenance,
    list_files,
    read_provenance,
    write_json,
)
from workbench.core.endpoint import ENDPOINT_FILE, EndpointSpec, read_endpoint
from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.plan import PlanModel, cache_key
from workbench.core.preset import preset_from_data

TOOLCHAIN = "endpoint"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def checked_name(name: str) -> str:
    """A name that an endpoint can have: it is its folder's. Raises BadInputError."""
    if _NAME.fullmatch(name) is None or name.endswith(PARTIAL_SUFFIX):
        raise BadInputError(
            f"An endpoint cannot be called {name[:80]!r}.",
            evidence="a name has letters, digits, dots, dashes and underscores, and begins with a letter or digit",
            fix="Choose another name, such as box-vllm.",
            code="bad-name",
        )
    return name


def new_spec(**fields: object) -> EndpointSpec:
    """A description from what a person gave. Raises BadInputError."""
    try:
        return EndpointSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise BadInputError(
            f"The endpoint's {where.replace('_', ' ')} cannot be used.",
            evidence=reason,
            fix="Write the URL as in http://box:8000/v1." if where.endswith("url") else "Correct it.",
            code="bad-endpoint",
        ) from error


def folder_of(home: Home, name: str) -> Path:
    return home.artifacts / "engines" / checked_name(name)


def add_endpoint(home: Home, name: str, spec: EndpointSpec, tokenizer: Path | None = None) -> Path:
    """Write an endpoint's folder. `tokenizer`: a model folder with the server's tokenizer, by which variants are told
    to share one.

    Raises BadInputError when the name is taken, or nothing can be written.
    """
    folder = folder_of(home, name)
    refuse_taken(folder)
    partial = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        partial.mkdir(parents=True, mode=0o700)
        write_json(partial / ENDPOINT_FILE, spec)
        if tokenizer is not None:
            _take_tokenizer(tokenizer, partial)
        write_json(partial / PROVENANCE_FILE, _provenance(name, spec, partial, folder), durable=True)
        os.rename(partial, folder)  # noqa: PTH104 - raises where a folder with files stands there by now
    except OSError as error:
        raise BadInputError(
            "The endpoint cannot be written.", evidence=str(error), fix="Check the folder and its disk."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def refuse_taken(folder: Path) -> None:
    """Raises BadInputError when something has that name."""
    if folder.exists():
        raise BadInputError(
            f"There is an engine or endpoint called {folder.name} already.",
            evidence=str(folder),
            fix=f"Choose another name, or remove it first: workbench endpoint remove {folder.name}",
            code="output-exists",
        )


def _take_tokenizer(source: Path, target: Path) -> None:
    if not (source / "tokenizer.json").is_file():
        raise BadInputError(
            "There is no tokenizer in that folder.",
            evidence=f"{source / 'tokenizer.json'} is not there",
            fix="Give the folder of the model that the server serves.",
            code="no-tokenizer",
        )
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _provenance(name: str, spec: EndpointSpec, partial: Path, folder: Path) -> Provenance:
    facts = {"toolchain": TOOLCHAIN, "endpoint": spec.model_dump(mode="json", exclude={"key"}), "name": name}
    host = read_host()
    return Provenance(
        kind="engine",
        name=name,
        key=cache_key(facts),
        key_facts=facts,
        created_at=time.time(),
        workbench=__version__,
        toolchain=TOOLCHAIN,
        preset=_neutral_preset(name),
        model=PlanModel(name=spec.model, path=str(folder), architecture="", digest="", parameters=0, weight_bytes=0),
        machine=Machine(
            cpu=host.cpu_name, cpu_identity=host.cpu_identity, memory_bytes=host.memory_total_bytes, os=host.os
        ),
        steps=(),
        files=tuple(
            FileEntry(
                path=path.relative_to(partial).as_posix(),
                bytes=path.stat().st_size,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in list_files(partial)
        ),
    )


def _neutral_preset(name: str) -> dict[str, object]:
    """A preset that asks for nothing. Presets know no endpoint, as none can be built by one; its toolchain and its
    precision stand here because a preset needs them and say nothing of the server.
    """
    data = {
        "schema": 1,
        "title": f"Endpoint {name}",
        "goal": "latency",
        "description": "An endpoint has no preset: what it runs with is its server's to say.",
        "toolchain": "pytorch",
        "precision": {"weights": "bf16"},
        "limits": {"max_batch_size": 1},
    }
    return preset_from_data(data).to_data()


def endpoints(home: Home) -> list[tuple[str, Path, EndpointSpec | None, str]]:
    """All endpoints of the home by name: folder, description, and what is wrong with it where it has none."""
    found: list[tuple[str, Path, EndpointSpec | None, str]] = []
    top = home.artifacts / "engines"
    for folder in sorted(top.iterdir()) if top.is_dir() else []:
        if folder.name.endswith(PARTIAL_SUFFIX) or not folder.is_dir():
            continue
        try:
            provenance = read_provenance(folder)
            if provenance.toolchain != TOOLCHAIN:
                continue
            found.append((provenance.name, folder, read_endpoint(folder), ""))
        except WorkbenchError as error:
            if (folder / ENDPOINT_FILE).is_file() and _is_endpoint(folder):
                found.append((folder.name, folder, None, error.what))
    return found


def _is_endpoint(folder: Path) -> bool:
    try:
        return read_provenance(folder).toolchain == TOOLCHAIN
    except WorkbenchError:
        return False


def find_endpoint(home: Home, name: str) -> tuple[Path, EndpointSpec]:
    """An endpoint by its name. Raises BadInputError."""
    there = endpoints(home)
    for known, folder, spec, _ in there:
        if known == name:
            return folder, spec if spec is not None else read_endpoint(folder)
    names = ", ".join(known for known, *_ in there[:10])
    raise BadInputError(
        f"No endpoint is called {name[:80]!r}.",
        evidence=names or "none was added yet",
        fix="`workbench endpoint` lists them.",
        code="no-such-endpoint",
    )
