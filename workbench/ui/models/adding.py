"""A server that somebody else runs, added to the engines: the same as `workbench endpoint add`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.artifact import read_provenance
from workbench.core.endpoint import EndpointSpec, KeySource
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.store.store import Store
from workbench.store.upgrade import refuse_newer_store
from workbench.toolchains.endpoint.folder import add_endpoint, checked_name, folder_of, new_spec, refuse_taken
from workbench.toolchains.secrets import Secret, checked_key, checked_variable, store_key


@dataclass(frozen=True)
class NewServer:
    """What a person gave."""

    name: str
    url: str
    model: str
    api: str
    key_from: str = "none"
    """none, env or keyring."""
    variable: str = ""
    key: Secret | None = None
    """Goes to the keyring and nowhere else."""


def add_server(home: Home, wanted: NewServer) -> Path:
    """Its folder. May ask for the keyring's password. Raises WorkbenchError."""
    refuse_newer_store(home)
    spec = new_spec(base_url=wanted.url, model=wanted.model, api=wanted.api, key=_source(wanted))
    refuse_taken(folder_of(home, wanted.name))
    if wanted.key_from == "keyring":
        store_key(wanted.name, checked_key(wanted.key or ""))
    return listed_endpoint(home, wanted.name, spec)


def listed_endpoint(home: Home, name: str, spec: EndpointSpec) -> Path:
    """Write an endpoint's folder and list it among the engines. Raises BadInputError."""
    with Store.open(home.make()) as store:
        store.refuse_newer()
        folder = add_endpoint(home, name, spec)
        store.add_artifact(folder, read_provenance(folder))
    return folder


def key_in_the_open(url: str) -> bool:
    """Whether a key would go to another machine over plain http. False for what is no URL yet."""
    try:
        return new_spec(base_url=url, model="any").plain_http
    except BadInputError:
        return False


def check_url(text: str) -> str:
    """The URL as it would be kept. Raises BadInputError."""
    fields: dict[str, Any] = {"base_url": text, "model": "any"}
    return new_spec(**fields).base_url


def _source(wanted: NewServer) -> KeySource:
    if wanted.key_from == "env":
        return KeySource(source="env", name=checked_variable(wanted.variable))
    return KeySource(source="keyring", name=checked_name(wanted.name)) if wanted.key_from == "keyring" else KeySource()
