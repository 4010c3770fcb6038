"""`workbench endpoint`: add, list, key, remove."""

from __future__ import annotations

import getpass
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from workbench.cli.context import Context
from workbench.core.artifact import read_provenance
from workbench.core.endpoint import TITLES, EndpointSpec, KeySource, tls_context
from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.home import expanded
from workbench.jobs.holding import held_artifact
from workbench.jobs.sealing import remove_artifact
from workbench.serve.using import refuse_served
from workbench.toolchains.endpoint.folder import (
    add_endpoint,
    checked_name,
    endpoints,
    find_endpoint,
    folder_of,
    new_spec,
    refuse_taken,
)
from workbench.toolchains.secrets import Secret, checked_key, checked_variable, remove_key, store_key


def key_source(name: str, variable: str, *, keyring: bool, none: bool) -> KeySource:
    """Where the key is kept, by the flags. Raises BadInputError when several are given."""
    if (bool(variable) + keyring + none) > 1:
        raise BadInputError(
            "Only one of --key-env, --key-keyring and --no-key can be given.",
            fix="Choose where the key is kept.",
            code="bad-endpoint",
        )
    if variable:
        return KeySource(source="env", name=checked_variable(variable))
    return KeySource(source="keyring", name=checked_name(name)) if keyring else KeySource()


def run_add(
    context: Context, name: str, fields: dict[str, Any], key: KeySource, ca_file: Path | None, tokenizer: Path | None
) -> None:
    checked_name(name)
    context.store.refuse_newer()
    spec = new_spec(**fields, key=key, ca_file=str(expanded(ca_file)) if ca_file is not None else "")
    refuse_taken(folder_of(context.home, name))
    tls_context(spec)
    if spec.plain_http and key.source != "none":
        context.note("The key goes to another machine over plain http, where it can be read on the way.")
    if not spec.verify_tls:
        context.note("The server's certificate is not checked: anybody on the way can pose as it.")
    if key.source == "env" and not os.environ.get(key.name):
        context.note(f"{key.name} is not set now; set it before the endpoint is used.")
    kept = store_key(key.name, _ask_key(name)) if key.source == "keyring" else ""
    folder = add_endpoint(context.home, name, spec, expanded(tokenizer) if tokenizer is not None else None)
    context.store.add_artifact(folder, read_provenance(folder))
    stored = f"; its key is in {kept}" if kept else ""
    context.result(
        {"name": name, "folder": str(folder), **_shown(spec)},
        f"added {name}: {spec.model} at {spec.base_url}{stored}\ntry it: workbench endpoint test {name}",
    )


def _shown(spec: EndpointSpec) -> dict[str, Any]:
    data = spec.model_dump(mode="json")
    data.pop("schema_version")
    return data


def run_list(context: Context) -> None:
    there = endpoints(context.home)
    if context.as_json:
        context.result(
            [
                {"name": name, "folder": str(folder), **(_shown(spec) if spec is not None else {}), "problem": problem}
                for name, folder, spec, problem in there
            ]
        )
        return
    if not there:
        context.result(None, "No endpoint was added yet: workbench endpoint add NAME --url URL --model MODEL")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "model", "url", "api", "server", "key"):
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "api"))
    for name, _, spec, problem in there:
        if spec is None:
            table.add_row(name, problem, "", "", "", "")
        else:
            table.add_row(name, spec.model, spec.base_url, spec.api, TITLES[spec.server], spec.key.words)
    context.out.print(table)


def run_key(context: Context, name: str, *, forget: bool) -> None:
    _, spec = find_endpoint(context.home, name)
    if spec.key.source != "keyring":
        raise BadInputError(
            f"The key of {name} is not kept in the keyring.",
            evidence=f"its key: {spec.key.words}",
            fix=f"Remove it and add it again with --key-keyring: workbench endpoint remove {name}",
            code="not-keyring",
        )
    if forget:
        gone = remove_key(spec.key.name)
        words = f"took the key of {name} out of the keyring" if gone else f"the keyring holds no key of {name}"
        context.result({"name": name, "forgotten": gone}, words)
        return
    kept = store_key(spec.key.name, _ask_key(name))
    context.result({"name": name, "keyring": kept}, f"the key of {name} is in {kept}")


def _ask_key(name: str) -> Secret:
    """The key, typed without an echo, or one line of a pipe. Raises BadInputError."""
    if sys.stdin.isatty():
        with warnings.catch_warnings():
            # Where the echo cannot be switched off, a key must not be typed at all.
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                return checked_key(getpass.getpass(f"API key of {name} (not shown): "))
            except (getpass.GetPassWarning, EOFError) as error:
                raise BadInputError(
                    "The key cannot be asked for here.",
                    evidence="this terminal would show it",
                    fix=f"Pipe it in: … | workbench endpoint key {name}",
                    code="no-prompt",
                ) from error
    return checked_key(sys.stdin.readline())


def run_remove(context: Context, name: str, *, yes: bool) -> None:
    checked_name(name)
    found = next(((folder, spec) for known, folder, spec, _ in endpoints(context.home) if known == name), None)
    if found is None:
        find_endpoint(context.home, name)
        return
    folder, spec = found
    context.store.refuse_newer()
    if not yes:
        if not sys.stdin.isatty():
            raise BadInputError(
                "Nobody is there to be asked.", fix="Give --yes to remove without asking.", code="not-asked"
            )
        if not typer.confirm(f"Remove the endpoint {name} ({spec.base_url if spec else folder})?", err=True):
            raise typer.Exit(0)
    provenance = read_provenance(folder)
    try:
        with held_artifact(context.home, folder, provenance.key):
            refuse_served(context.home, folder)
            others = remove_artifact(folder, provenance)
    except OSError as error:
        raise BadInputError(f"{folder} could not be removed.", evidence=str(error), code="not-writable") from error
    context.store.forget_artifact(folder)
    forgotten = _forget_key(context, spec)
    words = " and its key" if forgotten else ""
    context.result({"removed": name, "key_forgotten": forgotten, "left": others}, f"removed {name}{words}")


def _forget_key(context: Context, spec: EndpointSpec | None) -> bool:
    if spec is None or spec.key.source != "keyring":
        return False
    try:
        return remove_key(spec.key.name)
    except WorkbenchError as error:
        context.note(f"Its key could not be taken out of the keyring: {error.what} {error.evidence}")
        return False
