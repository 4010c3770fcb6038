"""Searching the Hub from the Build page: a real worker against a small Hub on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from tests.fakes.hub import Hub, running_hub
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.toolchains.hub import search_models
from workbench.ui.pages.builder.hub_dialog import HubDialog
from workbench.ui.session import Session

MODELS = [
    {"_id": "1", "id": "org/tiny-chat", "modelId": "org/tiny-chat", "downloads": 12345, "likes": 7, "tags": []},
    {"_id": "2", "id": "org/tiny-gated", "modelId": "org/tiny-gated", "downloads": 11, "gated": "manual", "tags": []},
    {"_id": "3", "id": "other/large", "modelId": "other/large", "downloads": 5, "likes": 0, "tags": []},
]  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(tmp_path / "source") as hub:
        hub.models = MODELS
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield hub


@pytest.mark.slow
def test_models_are_found_by_words_of_their_names(hub: Hub, app_home: Home) -> None:
    found = search_models(app_home.make(), "TINY")
    assert [model.id for model in found] == ["org/tiny-chat", "org/tiny-gated"]
    assert found[0].downloads == 12345 and not found[0].gated
    assert found[1].likes is None and found[1].gated, "what is not reported is not zero"
    asked = next(path for method, path, _ in hub.requests if path.startswith("/api/models?"))
    assert "filter=text-generation" in asked and "sort=downloads" in asked
    assert search_models(app_home, "nothing of the kind") == ()


@pytest.mark.slow
def test_what_goes_wrong_is_said(hub: Hub, app_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 503
    with pytest.raises(BadInputError, match="answered with an error"):
        search_models(app_home.make(), "tiny")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInputError, match="cannot be reached"):
        search_models(app_home, "tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInputError, match="HF_HUB_OFFLINE forbids"):
        search_models(app_home, "tiny")


@pytest.mark.slow
def test_a_model_is_searched_and_chosen_by_keys(qtbot: QtBot, session: Session, hub: Hub) -> None:
    session.home.make()
    dialog = HubDialog(session, "", None)  # type: ignore[arg-type]
    qtbot.addWidget(dialog)
    dialog.open()
    chosen: list[str] = []
    dialog.chosen.connect(chosen.append)
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    assert "Type some words" in dialog.said.text() and not dialog.take.isEnabled()
    qtbot.keyClicks(dialog.field, "tiny")
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.table.rowCount() == 2, timeout=30_000)
    assert dialog.table.item(0, 1).text() == "12\u202f345" and dialog.table.item(1, 2).text() == "not reported"
    qtbot.keyClick(dialog.table, Qt.Key.Key_Down)
    assert dialog.model_id == "org/tiny-gated"
    qtbot.mouseClick(dialog.take, Qt.MouseButton.LeftButton)
    assert chosen == ["org/tiny-gated"] and not dialog.isVisible()
