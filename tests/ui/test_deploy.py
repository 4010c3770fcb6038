"""The Deploy page: a real server, started, asked and stopped; ended ones; exports that are checked and written."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keyring
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from tests.fakes.file_keyring import VARIABLE as KEYRING_FILE
from tests.fakes.file_keyring import FileKeyring
from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.fakes.openai_server import Behaviour, serving
from tests.fakes.plans import ROOT
from tests.fakes.trtllm_engines import make_trtllm_engine
from tests.ui.conftest import OpenWindow
from tests.ui.deploy_faces import MODEL, failed_server, make_server, reading_at
from workbench.core.artifact import read_provenance
from workbench.core.deploy.export import Check, Export, TextFile
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.measure.load import Load
from workbench.core.measure.record import RunHead, Subject
from workbench.core.measure.run_file import start_run
from workbench.core.measure.workload import Workload
from workbench.core.serving import ServeLimits, ServeState
from workbench.serve import client
from workbench.serve.folder import ServingFolder
from workbench.serve.readings import line_of
from workbench.toolchains.endpoint.folder import add_endpoint, new_spec
from workbench.ui.models.exporting import view_of
from workbench.ui.models.serving import (
    ServerRow,
    Servers,
    curl_text,
    endpoint_of,
    key_words,
    look_at_port,
    openai_text,
    read_server,
    read_servers,
)
from workbench.ui.pages.all import PAGES
from workbench.ui.pages.deploy.launch_form import LaunchForm
from workbench.ui.pages.deploy.left import LAUNCH, SERVE, TRITON
from workbench.ui.pages.deploy.page import DeployPage
from workbench.ui.pages.deploy.serve_form import NETWORK, ServeForm
from workbench.ui.pages.deploy.triton_form import TritonForm
from workbench.ui.pages.engines import EnginesPage
from workbench.ui.plots.run_plot import RunFrame, RunPlot, Series
from workbench.ui.window import Window

WAIT_MS = 30_000


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window(*(kind for kind in PAGES if kind.name == "deploy"))


@pytest.fixture
def page(window: Window, qtbot: QtBot) -> DeployPage:
    made = window.page("deploy")
    assert isinstance(made, DeployPage)
    window.show_page("deploy")
    return made


def calm(qtbot: QtBot, page: DeployPage) -> None:
    qtbot.waitUntil(lambda: not page.busy and not page.session.tasks.busy, timeout=WAIT_MS)


def take(qtbot: QtBot, page: DeployPage, engine: Path, way: str = SERVE) -> None:
    page.left.choose_way(way)
    page.take_path(str(engine))
    qtbot.waitUntil(lambda: page.engine is not None, timeout=WAIT_MS)
    calm(qtbot, page)


# -- what the forms say


def known_flags(file: str, command: str) -> set[str]:
    """Flags of a command, as its function declares them."""
    source = (ROOT / "workbench" / "cli" / file).read_text("utf-8")
    body = source.partition(f'@app.command("{command}")')[2].partition("@app.command(")[0]
    return {"--out", *re.findall(r"[\"/](--[a-z-]+)", body)}


def flags_of(command: tuple[str, ...]) -> set[str]:
    return {word for word in command if word.startswith("--")}


@pytest.fixture
def serve_form(qtbot: QtBot) -> ServeForm:
    made = ServeForm()
    qtbot.addWidget(made)
    return made


def test_the_command_of_a_server_has_the_command_lines_words_for_all_that_was_changed(
    serve_form: ServeForm, tmp_path: Path
) -> None:
    from workbench.ui.models.deploying import DeployEngine

    form = serve_form
    assert form.values().limits == ServeLimits() and form.values().key.kind == "none"
    for name, text in (("body_bytes", "2"), ("active", "8"), ("queue", "9"), ("queue_s", "3"), ("connections", "70"),
                       ("request_s", "50"), ("drain_s", "4"), ("idle_s", "5"), ("write_s", "6")):  # fmt: skip
        form.limits[name].set_text(text)
    form.port.set_text("8123")
    form.model.set_text("mine")
    form.address.buttons[1].click()
    form.key.buttons[3].click()
    form.entry.set_text("box")
    form.new_entry.switch.setChecked(True)
    values = form.values()
    assert values.limits.body_bytes == 2_000_000 and values.limits.active == 8 and values.limits.drain_s == 4
    assert (values.host, values.key.kind, values.key.name, values.key.new) == (NETWORK, "keyring", "box", True)
    command = values.command(DeployEngine(tmp_path, "tiny"))
    assert flags_of(command) == {
        "--port", "--host", "--model", "--api-key-keyring", "--new-key", "--max-active", "--queue", "--queue-seconds",
        "--body-mb", "--connections", "--request-seconds", "--drain-seconds", "--idle-seconds", "--write-seconds",
        "--detach",
    }  # fmt: skip
    assert flags_of(command) <= known_flags("app_serve.py", "start")
    form.limits["connections"].set_text("1000000")
    assert "1000000" in form.values().command(DeployEngine(tmp_path, "tiny")), "no 1e+06, which is no whole number"
    assert form.limits["connections"].edit.placeholderText() == "4\u202f096"


def test_every_limit_of_a_server_can_be_chosen(serve_form: ServeForm) -> None:
    assert set(serve_form.limits) == set(ServeLimits.model_fields)


def test_a_server_that_others_reach_has_a_key(serve_form: ServeForm) -> None:
    serve_form.address.buttons[1].click()
    assert serve_form.key.value == "new" and not serve_form.key.buttons[0].isEnabled()
    serve_form.address.buttons[0].click()
    assert serve_form.key.value == "none" and serve_form.key.buttons[0].isEnabled()
    serve_form.key.buttons[3].click()
    serve_form.address.buttons[1].click()
    assert serve_form.key.value == "keyring", "a key that was chosen stays chosen"
    serve_form.address.buttons[0].click()
    assert serve_form.key.value == "keyring"
    serve_form.restore({"host": NETWORK, "key": "none"})
    assert serve_form.values().key.kind == "new"


@pytest.mark.parametrize(("field", "text"), [("port", "70000"), ("port", "a"), ("active", "0"), ("body_bytes", "x")])
def test_what_is_wrong_with_a_server_is_said_at_its_field(serve_form: ServeForm, field: str, text: str) -> None:
    made = serve_form.port if field == "port" else serve_form.limits[field]
    made.set_text(text)
    with pytest.raises(ValueError):
        serve_form.values()
    assert made.problem.text() and made.edit.property("wrong") is True


def test_the_commands_of_the_exports_have_the_command_lines_words(qtbot: QtBot, tmp_path: Path) -> None:
    triton, launch = TritonForm(), LaunchForm()
    for form in (triton, launch):
        qtbot.addWidget(form)
    assert triton.command(tmp_path, "out") == ("workbench", "export", "triton", str(tmp_path), "--out", "out")
    assert launch.command(tmp_path, "out") == ("workbench", "export", "launch", str(tmp_path), "--out", "out")
    for field in triton._fields().values():
        field.set_text("3")
    for switch in triton._switches().values():
        switch.switch.setChecked(False)
    triton.form.choose("llmapi")
    triton.scheduler.choose("max_utilization")
    for name, field in launch._fields().items():
        field.set_text("1" if name in ("port", "nodes", "gpus_per_node") else "a")
    said = flags_of(triton.command(tmp_path))
    assert said <= known_flags("app_export.py", "triton") and len(said) == 27
    said = flags_of(launch.command(tmp_path))
    assert said <= known_flags("app_export.py", "launch") and len(said) == 12


# -- servers that ended


def test_ended_servers_are_listed_with_what_they_did(page: DeployPage, app_home: Home, qtbot: QtBot) -> None:
    assert page.servers_stack.currentIndex() in (0, 1)
    path = make_server(app_home)
    failed = failed_server(app_home)
    page._poll.now()
    qtbot.waitUntil(lambda: len(page.table.servers.rows) == 2 and page.pane.view is not None, timeout=WAIT_MS)
    page.table.pick(path)
    qtbot.waitUntil(lambda: page.pane.view is not None and page.pane.view.row.path == path, timeout=WAIT_MS)
    pane = page.pane
    assert pane.state_chip.text() == "stopped" and "was up" in pane.said.full and "engine host" in pane.said.full
    assert pane.percentiles.cells["ttft", "p99"].text() == "131.5"
    assert pane.percentiles.cells["latency", "p50"].text() == "1\u202f450"
    assert pane.counts.values["completed"].text() == "120"
    assert pane.view is not None
    assert [(count, status) for status, _, count in pane.view.refusals()] == [
        (40, "429"), (2, "401"), (1, "413"), (1, "gone"),
    ]  # fmt: skip
    assert "wrong or no key" in {line[2].text() for line in pane.refused._lines}
    assert "the queue is full" in pane.problems.text()
    assert len(pane.plots["tokens"].frame.times) == 60 and not pane.stop.isVisible() and pane.remove.isVisible()
    assert not pane.bench.isEnabled() and not pane.snippets.isEnabled()
    assert pane.counts.values["connections"].text() == "\u2013", "nothing of one that ended is open"
    page.table.pick(failed)
    qtbot.waitUntil(lambda: pane.state_chip.text() == "failed", timeout=WAIT_MS)
    assert pane.failure_box.isVisible() and "signal 9" in pane._failure.evidence.toPlainText()


def test_a_server_that_died_without_a_word_is_lost_and_can_be_forgotten(
    page: DeployPage, app_home: Home, qtbot: QtBot
) -> None:
    path = make_server(app_home, status="ready", ended_at=None)
    page._poll.now()
    qtbot.waitUntil(lambda: page.pane.view is not None, timeout=WAIT_MS)
    assert page.pane.state_chip.text() == "lost" and "gone" in page.pane._failure.what.text()
    assert page.pane.view is not None and not page.pane.view.row.running
    page.verbs._remove(page.pane.view.row)
    qtbot.waitUntil(lambda: not page.table.servers.rows, timeout=WAIT_MS)
    assert not path.exists() and page.servers_stack.currentWidget() is page.empty


def test_what_is_not_reported_is_a_gap_and_never_zero(app_home: Home) -> None:
    path = make_server(app_home, seconds=10)
    folder = ServingFolder(path)
    at = folder.state().ended_at
    assert at is not None
    lines = [reading_at(at - 9 + n, n, kv_share=None if n < 6 else 0.5, output_tok_s=None) for n in range(9)]
    folder.readings_path.write_bytes(b"".join(line_of(one) + b"\n" for one in lines))
    frames = read_server(path).frames()
    assert frames["kv"].series[0].values == (None,) * 6 + (50.0,) * 3
    assert frames["tokens"].series[0].last is None


def test_a_folder_that_cannot_be_read_is_listed_and_says_so(app_home: Home) -> None:
    path = make_server(app_home)
    (path / "spec.json").write_text("{")
    (row,) = read_servers(app_home).rows
    assert row.problem and not row.running and row.name == path.name


def test_a_server_that_runs_is_listed_however_many_ended_since(app_home: Home) -> None:
    first = make_server(app_home, "first", status="ready", ended_at=None, seconds=1)
    for name in ("b", "c", "d"):
        make_server(app_home, name, seconds=1)
    with lived(first):
        assert [row.name for row in read_servers(app_home, 2).rows] == ["first", "d", "c"]
    assert [row.name for row in read_servers(app_home, 2).rows] == ["d", "c"]


def test_a_port_of_our_own_server_is_said_to_be(app_home: Home) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        path = make_server(app_home, "mine", status="ready", ended_at=None, pid=os.getpid(), seconds=1)
        use = look_at_port(app_home, "127.0.0.1", port)
        assert use is not None and not use.server, "its process is gone: its number may be another's"
        with lived(path):
            use = look_at_port(app_home, "127.0.0.1", port)
            assert use is not None and use.who == f"the server of mine (pid {os.getpid()})"
            with pytest.raises(BadInputError) as refused:
                client.check_address("127.0.0.1", port, has_key=False, home=app_home)
            assert use.words in refused.value.evidence and f"workbench serve stop {port}" in refused.value.fix
        with pytest.raises(BadInputError) as refused:
            client.check_address("127.0.0.1", port, has_key=False, home=app_home)
        assert "mine" not in refused.value.evidence


@contextmanager
def lived(path: Path) -> Iterator[None]:
    """Meanwhile the server of a folder lives: this process holds its lock."""
    with ServingFolder(path).lock_path.open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_the_status_line_says_what_the_servers_do() -> None:
    def row(port: int, **state: Any) -> ServerRow:
        return ServerRow(Path(f"/{port}"), "s", None, ServeState(url=f"http://127.0.0.1:{port}/v1", **state))

    busy = reading_at(1.0, 7, active=24, output_tok_s=2462.4)
    ready = row(8000, status="ready", reading=busy)
    assert Servers((ready, row(1, status="stopped", reading=busy))).words == (
        "Server on port 8000: 24 active, 2\u202f462 tok/s"
    )
    assert Servers((ready, row(8001, status="draining", reading=busy))).words.startswith("2 servers: 48 active, 4")
    assert Servers((row(8000, status="starting"),)).words == "Server on port 8000: starting"
    assert Servers((row(1, status="lost"),)).words == ""
    assert Servers((row(9, status="ready", reading=reading_at(1.0, 1, active=1, output_tok_s=None)),)).words == (
        "Server on port 9: 1 active"
    )


def keyed(row: ServerRow, **changes: Any) -> ServerRow:
    """The same server with a key."""
    assert row.spec is not None
    return replace(row, spec=row.spec.model_copy(update={"keyed": True, **changes}))


def test_the_snippets_ask_the_server_and_hold_no_key(app_home: Home) -> None:
    make_server(app_home)
    (row,) = read_servers(app_home).rows
    words = shlex.split(curl_text(row))
    assert words[:3] == ["curl", "-N", "http://127.0.0.1:8000/v1/chat/completions"]
    assert json.loads(words[words.index("-d") + 1])["model"] == MODEL and "Authorization" not in curl_text(row)
    assert key_words(row) == ""
    # However it was started: its folder says that clients need a key, and that the key is kept nowhere.
    with_key = keyed(row)
    assert "Bearer $WORKBENCH_API_KEY" in curl_text(with_key) and "shown once" in key_words(with_key)
    from_variable = keyed(row, key_source="env", key_name="MINE")
    assert "Bearer $MINE" in curl_text(from_variable) and "MINE" in key_words(from_variable)
    for each in (row, with_key):
        text = openai_text(each)
        compile(text, "snippet", "exec")
        assert ('os.environ["WORKBENCH_API_KEY"]' in text) is (each is with_key)


def test_a_server_becomes_an_endpoint_once_and_never_with_a_key_that_is_kept_nowhere(app_home: Home) -> None:
    make_server(app_home)
    (row,) = read_servers(app_home.make()).rows
    first = endpoint_of(app_home, row)
    assert endpoint_of(app_home, row) == first and first.name == f"served-{MODEL}"
    from workbench.core.endpoint import read_endpoint

    assert read_endpoint(first).key.source == "none"
    with pytest.raises(BadInputError, match="kept nowhere"):
        endpoint_of(app_home, keyed(row))
    second = endpoint_of(app_home, keyed(row), "box")
    assert second != first and read_endpoint(second).key.name == "box"


# -- a server that is started from the page


@pytest.fixture
def engine(app_home: Home) -> Iterator[Path]:
    with serving(Behaviour(ttft_s=0.0, itl_s=0.001)) as behind:
        yield add_endpoint(app_home.make(), "box", new_spec(base_url=behind.url, model="mock"))


@pytest.fixture
def own_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileKeyring]:
    monkeypatch.setenv(KEYRING_FILE, str(tmp_path / "keyring.json"))
    before = keyring.get_keyring()
    made = FileKeyring()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


def ask(url: str, key: str = "") -> int:
    body = json.dumps({"model": "box", "prompt": "hello", "max_tokens": 4}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/completions", body, headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)


@pytest.mark.slow
def test_a_server_is_started_with_a_new_key_asked_and_drained(
    page: DeployPage, engine: Path, own_keyring: FileKeyring, app_home: Home, qtbot: QtBot
) -> None:
    take(qtbot, page, engine)
    page.serve.port.set_text("0")
    page.serve.key.buttons[1].click()
    assert "--new-key" in page.left.command.text()
    qtbot.mouseClick(page.left.start, Qt.MouseButton.LeftButton)
    pane = page.pane
    qtbot.waitUntil(lambda: pane.view is not None and pane.view.row.state.status == "ready", timeout=WAIT_MS)
    assert pane.view is not None
    url, path = pane.view.row.state.url, pane.view.row.path
    try:
        assert page.key_box.isVisible() and page.key_box.key is not None
        key = str(page.key_box.key)
        assert (ask(url), ask(url, "wrong"), ask(url, key)) == (401, 401, 200)
        qtbot.waitUntil(lambda: pane.counts.values["completed"].text() == "1", timeout=WAIT_MS)
        qtbot.waitUntil(lambda: ("401", "wrong or no key", 2) in pane.view.refusals(), timeout=WAIT_MS)  # type: ignore[union-attr]
        written = b"".join(file.read_bytes() for file in path.iterdir() if file.is_file())
        assert key.encode() not in written
        page.key_box.copy_button.click()
        assert QGuiApplication.clipboard().text() == key
        page.key_box.keep_button.click()
        qtbot.waitUntil(lambda: not page.key_box.keep_button.isEnabled(), timeout=WAIT_MS)
        assert own_keyring.get_password("engine-workbench", "served-box") == key
        page.key_box.close_button.click()
        assert page.key_box.key is None and not page.key_box.field.text()
        pane.stop.click()
        qtbot.waitUntil(lambda: pane.state_chip.text() == "stopped", timeout=WAIT_MS)
    finally:
        client.stop(ServingFolder(path), now=True)
        client.wait_ended(ServingFolder(path), 20)


def test_a_port_that_is_taken_is_said_with_who_has_it_and_the_next_free_one(
    page: DeployPage, engine: Path, qtbot: QtBot
) -> None:
    take(qtbot, page, engine)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        page.serve.port.set_text(str(port))
        page.serve.port.changed.emit()
        qtbot.waitUntil(page.serve.free_button.isVisible, timeout=WAIT_MS)
        assert f"Port {port} is used by" in page.serve.port_note.text() and "pid" in page.serve.port_note.text()
        page.start()
        qtbot.waitUntil(page.failure_box.isVisible, timeout=WAIT_MS)
        assert f"Port {port} is in use" in page._failure.what.text() and not page.table.servers.rows
        page.serve.free_button.click()
        assert int(page.serve.port.text()) > port
        qtbot.waitUntil(lambda: not page.serve.port_note.isVisible() and not page._port_timer.isActive())
        calm(qtbot, page)
        assert not page.serve.port_note.isVisible()


# -- exports


@pytest.fixture(scope="module")
def two_gpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trtllm_engine(tmp_path_factory.mktemp("engines") / "tiny-fp8-tp2", "fp8", 2)


@pytest.mark.slow
def test_a_triton_repository_is_checked_while_it_is_asked_for_and_then_written(
    page: DeployPage, two_gpus: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    take(qtbot, page, two_gpus, TRITON)
    pane, form, model = page.panes[TRITON], page.triton, page.exports[TRITON]
    qtbot.waitUntil(lambda: model.view is not None, timeout=WAIT_MS)
    assert model.view is not None and not model.view.failed and pane.export.isEnabled()
    assert pane.files.chosen == "model_repository/tensorrt_llm/config.pbtxt"
    assert 'backend: "tensorrtllm"' in pane.files.text.toPlainText()
    form.gpus_here.set_text("1")
    form.gpus_here.changed.emit()
    qtbot.waitUntil(lambda: model.view is not None and bool(model.view.failed), timeout=WAIT_MS)
    first = pane.checks.rows()[0]
    assert first.accessibleName().startswith("failed") and "2 GPUs" in first.accessibleName()
    assert not pane.export.isEnabled() and "failed" in pane.state_chip.text()
    form.gpus_here.set_text("2")
    form.gpus_here.changed.emit()
    qtbot.waitUntil(lambda: model.view is not None and not model.view.failed, timeout=WAIT_MS)
    out = tmp_path / "out"
    pane.folder.setText(str(out))
    assert str(out) in page.left.command.text() and "--gpus 2" in page.left.command.text()
    pane.link.setChecked(True)
    assert "--link" in page.left.command.text()
    pane.export.click()
    qtbot.waitUntil(pane.result_box.isVisible, timeout=WAIT_MS)
    assert (out / "SHA256SUMS").is_file() and (out / "model_repository/ensemble/config.pbtxt").is_file()
    assert pane.commands.text().startswith(f"cd {out}")
    pane.export.click()
    qtbot.waitUntil(pane._result_failure.isVisible, timeout=WAIT_MS)
    assert "already" in pane._result_failure.what.text()


def kept_run(home: Home, name: str, key: str) -> None:
    subject = Subject(id="s1", name="tiny", toolchain="tensorrt_llm", path="/elsewhere", key=key)
    load = Load(requests=4)
    head = RunHead(id=name, created_at=1.0, status="complete", workload=Workload(), load=load, subjects=(subject,))
    start_run(home.make().runs / name, head)


@pytest.mark.slow
def test_the_baseline_is_chosen_among_the_kept_runs_of_the_engine(
    page: DeployPage, two_gpus: Path, app_home: Home, qtbot: QtBot
) -> None:
    kept_run(app_home, "20261121-mine", read_provenance(two_gpus).key)
    kept_run(app_home, "20261121-other", "another")
    page.triton.baseline_asked.emit()
    assert not page.runs.isVisible(), "no engine is chosen yet"
    take(qtbot, page, two_gpus, TRITON)
    page.triton.baseline_asked.emit()
    qtbot.waitUntil(lambda: [one.id for one in page.runs.model.rows] == ["20261121-mine"], timeout=WAIT_MS)
    page.runs.open_button.click()
    assert page.triton.baseline.text() == "20261121-mine" and "--baseline 20261121-mine" in page.left.command.text()
    calm(qtbot, page)
    # It has measured nothing yet, and that is said before anything is written.
    assert page.panes[TRITON].refused and not page.panes[TRITON].export.isEnabled()


@pytest.mark.slow
def test_an_engine_without_a_rank_cannot_be_exported_and_says_which(
    page: DeployPage, tmp_path: Path, two_gpus: Path, qtbot: QtBot
) -> None:
    import shutil

    broken = shutil.copytree(two_gpus, tmp_path / "broken")
    (broken / "rank1.engine").unlink()
    for way in (TRITON, LAUNCH):
        take(qtbot, page, broken, way)
        qtbot.waitUntil(lambda own=way: page.exports[own].view is not None, timeout=WAIT_MS)  # type: ignore[misc]
        view = page.exports[way].view
        assert view is not None and any("rank" in check.name for check in view.failed)
        assert not page.panes[way].export.isEnabled()


@pytest.mark.slow
def test_a_launch_folder_of_an_engine_that_our_own_program_serves(
    page: DeployPage, app_home: Home, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(make_interpreter(tmp_path / "python")))
    engine = make_engine_folder(app_home.make().artifacts / "engines" / "tiny")
    take(qtbot, page, engine, LAUNCH)
    qtbot.waitUntil(lambda: page.exports[LAUNCH].view is not None, timeout=WAIT_MS)
    page.launch.runtime.others.setText("runtime.kv_cache_gib=1 speculative.mode=prompt_lookup")
    page.launch.runtime.others.textEdited.emit("")
    assert "--set runtime.kv_cache_gib=1 --set speculative.mode=prompt_lookup" in page.left.command.text()
    page.launch.runtime.others.setText("build.x=1")
    page.launch.runtime.others.textEdited.emit("")
    assert "build.x" in page.left.problem.text() and not page.panes[LAUNCH].export.isEnabled()
    page.launch.runtime.others.setText("")
    page.launch.runtime.others.textEdited.emit("")
    qtbot.waitUntil(lambda: page.exports[LAUNCH].view is not None, timeout=WAIT_MS)
    view = page.exports[LAUNCH].view
    assert view is not None and {"run.sh", "README.md", "engine/openvino_model.bin"} <= {f.path for f in view.files}
    assert not page.launch.gpus_card.isVisible() and not page.launch.cluster.isVisible()
    assert page.panes[LAUNCH].files.choose("engine/openvino_model.bin")
    assert "Copied as it is" in page.panes[LAUNCH].files.text.toPlainText()
    page.left.choose_way(TRITON)
    qtbot.waitUntil(lambda: page.panes[TRITON].stack.currentIndex() == 1, timeout=WAIT_MS)
    assert not page.left.command.text() and not page.left.foot.isVisible(), "no command for what cannot be done"
    page.left.choose_way(SERVE)
    assert page.left.foot.isVisible() and page.left.start.isVisible()
    assert "OpenVINO" in page.panes[TRITON]._refusal.what.text() and not page.panes[TRITON].export.isEnabled()
    calm(qtbot, page)


def test_an_endpoint_cannot_be_exported(page: DeployPage, engine: Path, qtbot: QtBot) -> None:
    take(qtbot, page, engine, LAUNCH)
    assert "runs elsewhere" in page.panes[LAUNCH].words.text() and not page.panes[LAUNCH].export.isEnabled()


def test_an_export_says_how_its_checks_went() -> None:
    passed, remark = Check("a", True), Check("b", False, blocks=False)
    text = TextFile("b/run.sh", "x" * 10, executable=True)

    def made(*checks: Check) -> tuple[str, str]:
        return view_of(Export("launch", "n", (text,), (), checks)).state

    assert made() == ("nothing was checked", "plain")
    assert made(passed) == ("1 check passed", "ok")
    assert made(passed, remark) == ("1 of 2 checks passed", "warn")
    assert made(passed, remark, Check("c", False)) == ("1 of 3 checks failed", "err")


# -- between pages, and between starts


@pytest.mark.slow
def test_engines_hands_its_chosen_engine_over(
    open_window: OpenWindow, app_home: Home, qtbot: QtBot, two_gpus: Path
) -> None:
    make_engine_folder(app_home.make().artifacts / "engines" / "tiny")
    window = open_window(*(kind for kind in PAGES if kind.name in ("engines", "deploy")))
    engines = window.page("engines")
    assert isinstance(engines, EnginesPage)
    qtbot.waitUntil(lambda: bool(engines.table.current_rows()), timeout=WAIT_MS)
    qtbot.waitUntil(engines.deploy_button.isEnabled, timeout=WAIT_MS)
    engines.deploy_button.click()
    page = window.page("deploy")
    assert isinstance(page, DeployPage) and window.stack.currentWidget() is page
    qtbot.waitUntil(lambda: page.engine is not None and page.engine.name == "tiny-int8", timeout=WAIT_MS)
    calm(qtbot, page)


def test_the_forms_are_as_they_were_left(page: DeployPage, engine: Path, qtbot: QtBot) -> None:
    take(qtbot, page, engine)
    page.serve.port.set_text("9001")
    page.triton.kv_fraction.set_text("0.5")
    page.launch.hosts.set_text("a,b")
    page.left.choose_way(LAUNCH)
    kept = json.loads(json.dumps(page.state()))
    page.serve.port.set_text("1")
    page.triton.restore({})
    page.launch.restore({})
    page.left.choose_way(SERVE)
    page.restore(kept)
    assert (page.serve.port.text(), page.triton.kv_fraction.text()) == ("9001", "0.5")
    assert page.launch.hosts.text() == "a,b" and page.left.way == LAUNCH
    page.restore({"serve": 3, "triton": [], "launch": None, "way": "no", "folders": 1, "split": "x"})
    calm(qtbot, page)


# -- the plot


def test_a_plot_reads_the_moment_under_the_crosshair_and_joins_no_gap(qtbot: QtBot) -> None:
    plot = RunPlot("Requests", "", 0)
    qtbot.addWidget(plot)
    plot.resize(500, 160)
    times = (100.0, 101.0, 102.0, 110.0, 111.0)
    series = Series("Active", "s_gen", (1.0, 2.0, None, 4.0, 5.0))
    plot.show_frame(RunFrame(times, (series,), 111.0, 60.0))
    plot.show()
    assert [len(run) for run in plot._runs(plot.plot_rect, series, plot._top())] == [2, 2]
    assert plot._top() >= 5 and plot.accessibleDescription() == "Active 5"
    moments: list[float | None] = []
    plot.crossed.connect(moments.append)
    plot.crossed.connect(plot.set_cross)
    qtbot.keyClick(plot, Qt.Key.Key_Left)
    qtbot.keyClick(plot, Qt.Key.Key_Left)
    qtbot.keyClick(plot, Qt.Key.Key_Escape)
    assert moments == [110.0, 102.0, None]
    assert not plot.grab().isNull()
