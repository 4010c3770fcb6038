"""Endpoint folders and their keys: nothing half-written, and no key in any file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backends.fail
import pytest

from tests.fakes.file_keyring import VARIABLE, FileKeyring
from workbench.core.artifact import problems, read_provenance, runs_here
from workbench.core.endpoint import KEY_VARIABLE, EndpointSpec, KeySource
from workbench.core.errors import BadInputError, BlockedError, WorkbenchError
from workbench.core.home import Home
from workbench.core.load_fit import load_need, refuse_load
from workbench.store.store import Store
from workbench.toolchains import get, names
from workbench.toolchains.endpoint.folder import add_endpoint, endpoints, find_endpoint, folder_of, new_spec
from workbench.toolchains.running import engine_start
from workbench.toolchains.secrets import (
    Secret,
    checked_key,
    checked_variable,
    key_of,
    keyring_name,
    remove_key,
    store_key,
)

URL = "http://box:8000/v1"
KEY = "sk-hunter2"


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file behind the keyring."""
    path = tmp_path / "ring.json"
    monkeypatch.setenv(VARIABLE, str(path))
    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())
    yield path
    keyring.set_keyring(before)


def spec_of(**fields: object) -> EndpointSpec:
    return new_spec(**{"base_url": URL, "model": "m", **fields})


def test_an_endpoint_is_an_engine_that_starts(home: Home) -> None:
    folder = add_endpoint(home, "box", spec_of())
    provenance = read_provenance(folder)
    assert (provenance.kind, provenance.toolchain, provenance.precision) == ("engine", "endpoint", "")
    assert problems(folder, provenance) == []
    assert runs_here(provenance, "any")[0]
    start = engine_start(home, folder, [], {})
    assert start.start.argv[-1] == "workbench.workers.endpoint.host"
    assert start.start.spec.inputs == {"engine": str(folder)}
    assert (start.name, start.on_gpu, start.toolchain_title) == ("box", False, "Endpoint")
    assert start.start.device == "elsewhere"
    refuse_load("box", load_need(provenance, start.preset, 0, on_gpu=False), 0, "host memory", ())
    with Store.open(home) as store:
        store.sync()
        assert [one.path for one in store.artifacts("engine")] == [folder]


def test_nothing_can_be_built_for_it() -> None:
    toolchain = get("endpoint")
    assert toolchain.name not in names(), "no preset can choose it"
    assert toolchain.runtime_settings == frozenset()


def test_names_and_what_is_there_already(home: Home) -> None:
    add_endpoint(home, "box", spec_of())
    with pytest.raises(BadInputError) as caught:
        add_endpoint(home, "box", spec_of(model="other"))
    assert caught.value.failure.code == "output-exists"
    assert find_endpoint(home, "box")[1].model == "m", "what was there stays"
    for name in ("", "../x", "a/b", ".hidden", "x.partial", "a" * 81, "\x1b[2J"):
        with pytest.raises(BadInputError):
            folder_of(home, name)
    assert [path.name for path in (home.artifacts / "engines").iterdir()] == ["box"]


def test_the_list_says_what_is_damaged(home: Home) -> None:
    add_endpoint(home, "good", spec_of())
    bad = add_endpoint(home, "bad", spec_of())
    (bad / "engine.json").write_text("{}")
    (home.artifacts / "engines" / "empty").mkdir()
    found = {name: (spec is not None, problem) for name, _, spec, problem in endpoints(home)}
    assert found["good"] == (True, "")
    assert found["bad"][0] is False and "damaged" in found["bad"][1]
    assert set(found) == {"good", "bad"}
    with pytest.raises(BadInputError):
        find_endpoint(home, "bad")
    with pytest.raises(BadInputError) as caught:
        find_endpoint(home, "none")
    assert "bad, good" in caught.value.evidence


@pytest.mark.parametrize(
    "fields", [{"base_url": "nonsense://x"}, {"api": "both"}, {"server": "mine"}, {"silence_s": 0}, {"max_seq_len": 0}]
)
def test_what_cannot_be_used_is_refused_in_words(fields: dict[str, object]) -> None:
    with pytest.raises(BadInputError) as caught:
        spec_of(**fields)
    assert caught.value.failure.code == "bad-endpoint"
    assert next(iter(fields)).replace("_", " ") in caught.value.what


def test_a_tokenizer_is_taken_along(home: Home, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(BadInputError) as caught:
        add_endpoint(home, "box", spec_of(), model)
    assert caught.value.failure.code == "no-tokenizer"
    assert not folder_of(home, "box").exists() and not list((home.artifacts / "engines").iterdir())
    (model / "tokenizer.json").write_text("{}")
    folder = add_endpoint(home, "box", spec_of(), model)
    assert (folder / "tokenizer.json").read_text() == "{}"
    assert {entry.path for entry in read_provenance(folder).files} == {"engine.json", "tokenizer.json"}


def test_a_key_of_the_environment(home: Home) -> None:
    source = KeySource(source="env", name="BOX_KEY")
    assert key_of(source, {"BOX_KEY": f" {KEY}\n"}) == KEY
    for environ, word in (({}, "not set"), ({"BOX_KEY": ""}, "empty")):
        with pytest.raises(BlockedError) as caught:
            key_of(source, environ)
        assert caught.value.failure.code == "no-key" and word in caught.value.evidence
    assert key_of(KeySource(), {}) is None


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "schlüssel", "a\x00b", "x" * 20_000])
def test_what_cannot_be_a_key_is_refused_and_not_said(key: str) -> None:
    with pytest.raises(BadInputError) as caught:
        checked_key(key)
    assert not key.strip() or key.strip() not in str(caught.value)


def test_a_key_given_for_a_variable_is_refused_and_not_said() -> None:
    assert checked_variable("OPENAI_API_KEY") == "OPENAI_API_KEY"
    with pytest.raises(BadInputError) as caught:
        checked_variable(KEY)
    assert KEY not in str(caught.value)


def test_the_keyring(ring: Path) -> None:
    source = KeySource(source="keyring", name="box")
    with pytest.raises(BlockedError) as caught:
        key_of(source, {})
    assert caught.value.failure.code == "no-key" and "endpoint key box" in caught.value.fix
    assert store_key("box", KEY) == keyring_name() == "the test's keyring"
    assert json.loads(ring.read_text()) == {"engine-workbench/box": KEY}
    assert key_of(source, {}) == KEY
    assert remove_key("box") and not remove_key("box")


@pytest.mark.parametrize("name", ["locked", "broken"])
def test_a_keyring_that_does_not_work(ring: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = ring.with_name(name)
    monkeypatch.setenv(VARIABLE, str(path))
    path.write_text("{broken")
    with pytest.raises(BlockedError) as caught:
        store_key("box", KEY)
    assert caught.value.failure.code == "no-keyring"
    assert KEY not in str(caught.value) and "--key-env" in caught.value.fix


def test_a_machine_without_a_keyring(ring: Path) -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())
    with pytest.raises(WorkbenchError) as caught:
        key_of(KeySource(source="keyring", name="box"), {})
    assert caught.value.failure.code == "no-keyring"


def test_a_key_from_the_keyring_reaches_the_host_and_no_file(home: Home, ring: Path) -> None:
    store_key("box", KEY)
    folder = add_endpoint(home, "box", spec_of(key=KeySource(source="keyring", name="box")))
    start = engine_start(home, folder, [], {}).start
    assert start.env[KEY_VARIABLE] == KEY
    assert KEY not in " ".join(start.argv) + start.spec.model_dump_json()
    assert KEY not in repr(dataclasses.asdict(start)) and KEY not in repr(start)
    for path in home.root.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_a_key_of_the_environment_is_named_and_not_copied(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOX_KEY", KEY)
    folder = add_endpoint(home, "box", spec_of(key=KeySource(source="env", name="BOX_KEY")))
    start = engine_start(home, folder, [], {}).start
    assert KEY not in repr(start.env.values()) and KEY not in start.spec.model_dump_json()
    assert KEY not in (folder / "engine.json").read_text() + (folder / "provenance.json").read_text()


def test_a_secret_does_not_show_itself() -> None:
    secret = checked_key(KEY)
    assert isinstance(secret, Secret) and secret == KEY
    assert KEY not in repr(secret) + repr([secret]) + repr({"key": secret})
