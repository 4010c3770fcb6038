"""The Doctor page over this machine's true report."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

from tests.fakes.plans import scripted_plan, scripted_step
from tests.fakes.wheels import make_wheel, make_wheels
from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.jobs import client
from workbench.jobs.folder import find
from workbench.toolchains.environments import variable_of
from workbench.ui.models.doctor import DoctorRow, read_doctor
from workbench.ui.pages.doctor import DoctorPage
from workbench.ui.pages.doctor.making import prepare, sentence
from workbench.ui.session import Session

WAIT_MS = 60_000


@pytest.fixture
def page(session: Session, qtbot: QtBot) -> Iterator[DoctorPage]:
    made = DoctorPage(session)
    qtbot.addWidget(made)
    made.resize(1200, 800)
    made.show()
    yield made
    made.close_page()


def processes_that_name(folder: Path) -> list[str]:
    """Command lines of running processes that name a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if str(folder) in words and process.status() != psutil.STATUS_ZOMBIE:
                found.append(words)
    return found


def rows_of(page: DoctorPage, group: str) -> list[DoctorRow]:
    return [entry for entry in page.model.entries if isinstance(entry, DoctorRow) and entry.group == group]


def test_each_group_is_shown_and_headings_cannot_be_chosen(page: DoctorPage, qtbot: QtBot) -> None:
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    assert {"Toolchains", "Memory and disk", "Store"} <= {e for e in page.model.entries if isinstance(e, str)}
    assert rows_of(page, "Memory and disk")[0].name == "Host memory"
    assert "GiB" in rows_of(page, "Memory and disk")[0].text
    assert page.subtitle.startswith("checked at ")
    for number, entry in enumerate(page.model.entries):
        if isinstance(entry, str):
            page.table.selectRow(number)
            assert page.table.chosen() is None
    page.resize(1200, 300)
    toolchains = [n for n, e in enumerate(page.model.entries) if isinstance(e, DoctorRow) and e.packages]
    bar = page.pane_scroll.verticalScrollBar()
    page.table.selectRow(toolchains[0])
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    bar.setValue(bar.maximum())
    page.table.selectRow(toolchains[1])
    assert bar.value() == 0, "what is chosen is read from its beginning"
    page.copy_report()
    assert QGuiApplication.clipboard().text().startswith("Engine Workbench ")


def test_a_named_interpreter_that_lacks_packages_is_a_problem_with_its_fix(
    page: DoctorPage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv(variable_of("tensorrt_llm"), str(broken))
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    chosen = page.table.chosen()
    assert chosen is not None and chosen.state == "err" and chosen.place == str(broken), "the first problem is chosen"
    assert "no such thing" in page.pane.text.text() and page.pane.fix.text() == chosen.fix != ""
    assert "1 problem" in page._counts["err"].text()
    assert not chosen.packages, "nothing is known of packages that could not be asked for"
    page.pane.copy_fix.click()
    assert QGuiApplication.clipboard().text() == chosen.fix


def test_packages_are_shown_as_found_and_wanted(app_home: Home) -> None:
    found = read_doctor(app_home)
    own = next(row for row in found.rows if row.name.startswith("OpenVINO") and row.place == sys.executable)
    by_name = {package.name: package for package in own.packages}
    assert by_name["pydantic"].found and by_name["pydantic"].state == "ok"
    assert "import not checked" in own.text or own.state != "ok"


def test_what_is_wrong_in_the_settings_is_a_row(
    app_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_SITE", str(tmp_path))
    assert not [row for row in read_doctor(app_home).rows if row.name == "Settings"]
    (tmp_path / "lab.toml").write_text('[folders]\nmodel = 1\n[window]\ntheme = "mauve"\n')
    (row,) = (row for row in read_doctor(app_home).rows if row.name == "Settings")
    assert row.state == "warn" and row.text == f"{row.what} (and 1 more)" and row.fix and len(row.details) == 1


@pytest.mark.slow
def test_what_is_wrong_in_the_store_is_said(app_home: Home) -> None:
    folder = client.start(app_home.make(), scripted_plan(scripted_step(app_home, "convert", [["write", "w", "x"]])))
    state = client.wait(folder, 60)
    (Path(state.artifacts[0]) / "w").unlink()
    (row,) = (row for row in read_doctor(app_home).rows if row.name == "Artefact")
    assert row.state == "err" and "lost files" in row.text and "workbench engines rm" in row.fix


@pytest.mark.slow
def test_an_environment_is_made_by_a_job_that_can_be_cancelled(
    page: DoctorPage, app_home: Home, qtbot: QtBot, tmp_path: Path
) -> None:
    make_wheels(tmp_path / "wheels", "modelopt")
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    (number,) = (n for n, e in enumerate(page.model.entries) if isinstance(e, DoctorRow) and e.toolchain == "modelopt")
    page.table.selectRow(number)
    assert page.making.make_button.isVisible() and not page.making.cancel_button.isVisible()
    page.making.use_wheels(tmp_path / "wheels")
    qtbot.waitUntil(lambda: [c.name for c in page.making.looked.checks][-1:] == ["wheels"], timeout=WAIT_MS)
    assert page.making.looked.isVisible() and not page.making.looked.blocked and page.making.index_button.isVisible()
    page.making.make_button.click()
    qtbot.waitUntil(lambda: page.making.cancel_button.isVisible(), timeout=WAIT_MS)
    job = page.making.job
    with qtbot.waitSignal(page.session.events.show_job) as asked:
        page.making.log_button.click()
    assert asked.args == [job]
    made = app_home.environments / "modelopt" / "default"
    qtbot.waitUntil((made / "pyvenv.cfg").exists, timeout=WAIT_MS)
    assert page.log_box.isVisible(), "the log is live on this page"
    qtbot.waitUntil(lambda: page.log.reader is not None and page.log.reader.advance().lines > 0, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: processes_that_name(made) != [], timeout=WAIT_MS)
    page.making.cancel_button.click()
    qtbot.waitUntil(lambda: page.making.make_button.isVisible(), timeout=WAIT_MS)
    assert client.wait(find(app_home.jobs, job), 30).status == "cancelled"
    assert not made.exists() and processes_that_name(made) == []
    assert page.log_box.isVisible() and "last" in page.log_words.text(), "it can still be read"
    page.close_log()
    assert not page.log_box.isVisible() and page.log.path is None
    qtbot.waitUntil(lambda: not page._looking, timeout=WAIT_MS)


@pytest.mark.slow
def test_a_folder_without_wheels_is_refused_in_words(page: DoctorPage, qtbot: QtBot, tmp_path: Path) -> None:
    page.making.show_for("modelopt")
    page.making.use_wheels(tmp_path)
    qtbot.waitUntil(lambda: page.making.looked.blocked, timeout=WAIT_MS)
    assert any("no wheels" in check.text for check in page.making.looked.checks)
    assert not page.making.make_button.isEnabled(), "there is nothing to start"
    page.making.make(tmp_path)
    qtbot.waitUntil(lambda: any("no wheels" in n.detail for n in page.session.notices.kept), timeout=WAIT_MS)
    assert not page.making.job
    page.making.index_button.click()
    assert page.making.wheels is None
    qtbot.waitUntil(lambda: bool(page.making.looked.checks), timeout=WAIT_MS)
    assert page.making.looked.checks[-1].name == "packages"


@pytest.mark.slow
def test_an_environment_from_a_folder_of_wheels_has_its_log_and_end_on_the_page(
    page: DoctorPage, app_home: Home, qtbot: QtBot, tmp_path: Path
) -> None:
    make_wheels(tmp_path / "wheels", "modelopt")
    (broken,) = (tmp_path / "wheels").glob("pulp-*.whl")
    broken.unlink()
    make_wheel(broken.parent, "pulp", broken.name.split("-")[1], ["pulp-needs-this; python_version < '3'"], [".."])
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    page.making.show_for("modelopt")
    page.making.make(tmp_path / "wheels")
    qtbot.waitUntil(lambda: bool(page.making.job), timeout=WAIT_MS)
    job = page.making.job
    qtbot.waitUntil(lambda: not page.making.job, timeout=WAIT_MS)
    assert find(app_home.jobs, job).state().status == "failed"
    (said,) = [n for n in page.session.notices.kept if n.level == "error"]
    assert "could not be installed" in said.text and "pulp" in said.detail
    assert page.log.path == find(app_home.jobs, job).log_path
    assert "--no-index" in page.log.path.read_text() and page.making.make_button.isVisibleTo(page.making)
    qtbot.waitUntil(lambda: not page._looking, timeout=WAIT_MS)


@pytest.mark.slow
def test_imports_are_checked_for_real_and_the_index_is_asked(page: DoctorPage, qtbot: QtBot) -> None:
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    own = next(n for n, e in enumerate(page.model.entries) if isinstance(e, DoctorRow) and e.packages)
    page.table.selectRow(own)
    assert page.import_button.isVisible() and page.import_button.isEnabled()
    page.import_button.click()
    assert not page.import_button.isEnabled() and "import" in page.subtitle
    qtbot.waitUntil(lambda: page.found.imported, timeout=4 * WAIT_MS)
    assert page.import_words.text() == "Imported just now." and page.import_button.isEnabled()
    (network,) = (row for row in rows_of(page, "Around them") if row.name == "Network")
    assert "answers" in network.text or "does not answer" in network.text
    usable = [row for row in rows_of(page, "Toolchains") if row.state == "ok"]
    assert all("import not checked" not in row.text for row in usable)


def test_without_a_network_the_folder_of_wheels_comes_first(
    page: DoctorPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    names = [row.name for row in rows_of(page, "Around them")]
    assert names == ["CUDA toolkit", "MPI", "Network"]
    (network,) = (row for row in rows_of(page, "Around them") if row.name == "Network")
    assert network.state == "warn" and "no package index" in network.what and "folder of wheels" in network.fix
    page.making.show_for("modelopt")
    assert page.making.wheels_button.property("primary") and not page.making.make_button.property("primary")
    assert page.making.words.text().startswith("pip is set to use no package index. Choose a folder of wheels.")
    assert "package index: none" in page.found.report


@pytest.mark.slow
def test_an_environment_is_uninstalled_from_its_row_after_a_question(
    page: DoctorPage, app_home: Home, qtbot: QtBot
) -> None:
    folder = app_home.environments / "modelopt" / "mine"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to("/opt/gone/python3.12")
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    (number,) = (n for n, e in enumerate(page.model.entries) if isinstance(e, DoctorRow) and e.environment == "mine")
    page.table.selectRow(number)
    assert "is gone" in page.pane.text.text() and "Make it anew" in page.pane.fix.text()
    page.making.remove_button.click()
    box = page.findChild(QMessageBox, "delete-question")
    assert str(folder) in box.informativeText()
    next(b for b in box.buttons() if b.text() == "Uninstall").click()
    qtbot.waitUntil(lambda: not folder.exists(), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not any(row.environment for row in page.found.rows), timeout=WAIT_MS)
    assert any(str(folder) in n.text for n in page.session.notices.kept)


@pytest.mark.slow
def test_another_environment_than_the_newest_is_used_by_the_settings(
    page: DoctorPage, app_home: Home, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_SITE", str(tmp_path / "site"))
    folder = app_home.environments / "openvino" / "mine"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)

    def choose(place: str) -> DoctorRow:
        entries = page.model.entries
        (number,) = (
            n
            for n, e in enumerate(entries)
            if isinstance(e, DoctorRow) and (e.toolchain, e.place) == ("openvino", place)
        )
        page.table.selectRow(number)
        row = entries[number]
        assert isinstance(row, DoctorRow)
        return row

    assert choose(str(folder / "bin" / "python")).state == "ok"
    assert not page.making.use_button.isVisible(), "it is the one that is used"
    assert choose(sys.executable).state == "ok" and page.making.use_button.isVisible()
    checked = page.found.checked_at
    page.making.use_button.click()
    qtbot.waitUntil(lambda: page.found.checked_at > checked, timeout=WAIT_MS)
    assert sys.executable in (app_home.root / "settings.toml").read_text()
    first = next(row for row in page.found.rows if row.toolchain == "openvino")
    assert first.place == sys.executable and first.details[0].startswith("named in the settings: ")


def test_the_index_and_the_wheels_of_the_settings_are_those_that_are_shown(
    page: DoctorPage, qtbot: QtBot, app_home: Home, tmp_path: Path
) -> None:
    (app_home.root / "settings.toml").write_text(
        f'schema = 1\n[network]\noffline = true\npackage_index = "https://packages.example.org/simple"\n'
        f'wheels = "{tmp_path}"\n'
    )
    page.opened()
    qtbot.waitUntil(lambda: page.stack.currentIndex() == 1, timeout=WAIT_MS)
    (network,) = (row for row in rows_of(page, "Around them") if row.name == "Network")
    assert "https://packages.example.org/simple" in "\n".join(network.details)
    page.making.show_for("modelopt")
    qtbot.waitUntil(lambda: bool(page.making.looked.checks), timeout=WAIT_MS)
    assert f"from the wheels in {tmp_path}, without a network, as the settings say" in page.making.words.text()
    assert not page.making.wheels_button.property("primary")
    assert page.making.index_button.isHidden(), "nothing was chosen that could be put away"


def test_a_failure_in_the_list_of_checks_is_a_sentence() -> None:
    failure = Failure(what="There is no Python.", evidence="the workbench's own is 3.11.7", fix="", code="no-python")
    assert sentence(failure) == "There is no Python: the workbench's own is 3.11.7."
    assert sentence(failure.model_copy(update={"evidence": ""})) == "There is no Python."


def test_without_a_fitting_python_all_other_checks_are_shown(
    app_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # TensorRT-LLM has wheels for 3.10 and 3.12, which are not found here
    if f"{sys.version_info.major}.{sys.version_info.minor}" in ("3.10", "3.12"):
        pytest.skip("this Python fits TensorRT-LLM")
    looked = prepare(app_home, "tensorrt_llm", None)
    states = {check.name: check.state for check in looked.checks}
    assert looked.failure is None and states["Python"] == "blocked"
    assert {"GPU", "disk"} <= set(states)
