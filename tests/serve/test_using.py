"""An engine that is being served is not removed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.fakes.interpreter import make_engine_folder
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.serving import ServeSpec, ServeState
from workbench.serve.folder import ServingFolder, create
from workbench.serve.using import refuse_served


def held(folder: ServingFolder) -> int:
    """Its lock, as a server that runs holds it."""
    lock = os.open(folder.lock_path, os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_the_engine_of_a_running_server_and_no_other(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    engine, other = make_engine_folder(tmp_path / "one"), make_engine_folder(tmp_path / "two")
    link = tmp_path / "link"
    link.symlink_to(engine)
    server = create(home.serving, ServeSpec(id="s1", engine=str(link), name="one", model="m"))
    create(home.serving, ServeSpec(id="s2", engine=str(other), name="two", model="m"))
    (home.serving / "s0").mkdir()  # a damaged one hides no other
    refuse_served(home, engine)
    lock = held(server)
    try:
        for status, url in (("starting", ""), ("ready", "http://127.0.0.1:8000/v1"), ("draining", "")):
            server.write_state(ServeState(status=status, url=url))  # type: ignore[arg-type]
            with pytest.raises(BadInputError, match="one is being served") as error:
                refuse_served(home, engine)
            assert error.value.failure.code == "in-use" and url in error.value.evidence
            assert error.value.fix == "Stop the server first: workbench serve stop s1"
        refuse_served(home, other)
    finally:
        os.close(lock)
    refuse_served(home, engine)


def test_the_engine_that_guesses_for_a_served_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    engine, draft = make_engine_folder(tmp_path / "big"), make_engine_folder(tmp_path / "small")
    for folder in (engine, draft):
        (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {"a": 0}}}')
    guessing = ("speculative.mode=draft_target", f"speculative.draft={draft}")
    server = create(home.serving, ServeSpec(id="s1", engine=str(engine), name="big", model="m", overrides=guessing))
    lock = held(server)
    try:
        with pytest.raises(BadInputError, match="small is being served") as error:
            refuse_served(home, draft)
        assert "it guesses for big" in error.value.evidence
    finally:
        os.close(lock)
    refuse_served(home, draft)
