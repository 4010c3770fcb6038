"""The window is there before its pages: what they need is imported, and what the folders hold read, after its paint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.ui.test_engines import make_engine
from workbench.core.home import Home
from workbench.store.store import Store
from workbench.ui.app import make_window
from workbench.ui.importing import GROUND, import_in_turns
from workbench.ui.models.engines import FIRST_ROWS, read_first_rows, read_rows
from workbench.ui.pages.all import PAGE_MODULES, PAGES
from workbench.ui.pages.engines import EnginesPage
from workbench.ui.pages.engines.table import RUNS, badge_words, cell
from workbench.ui.session import Session

WAIT_MS = 10_000


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.name)
def test_the_rail_says_of_a_page_what_the_page_says_of_itself(session: Session, qtbot: QtBot, kind: object) -> None:
    page = kind(session)  # type: ignore[operator]
    qtbot.addWidget(page)
    assert (page.name, page.title, page.icon_name) == (kind.name, kind.title, kind.icon_name)  # type: ignore[attr-defined]
    page.close_page()


@pytest.mark.slow
def test_no_page_is_imported_before_the_window_is_painted(app_home: Home) -> None:
    """In a process of its own, since the tests import them."""
    program = (
        "import sys, os\n"
        "from workbench.ui.app import home_from, make_application, make_window\n"
        "from workbench.ui.pages.all import PAGES\n"
        "app = make_application(['x'])\n"
        "window = make_window(app, home_from(os.environ).make(), PAGES, page_later=True)\n"
        "window.show()\n"
        "rooms = ('workbench.ui.pages.', 'workbench.toolchains', 'pyqtgraph')\n"
        "early = [name for name in sys.modules if name.startswith(rooms)]\n"
        "print(sorted(early))\n"
        "window.start()\n"
        "while window.stack.currentWidget() is None: app.processEvents()\n"
        "print(window.stack.currentWidget().objectName())\n"
        "window.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    early, first = done.stdout.splitlines()
    assert early == "['workbench.ui.pages.all', 'workbench.ui.pages.base']"
    assert first == f"page-{PAGES[0].name}"


def test_a_window_that_is_closed_before_its_page_is_made_remembers_the_page(
    qapp: QApplication, app_home: Home, qtbot: QtBot
) -> None:
    window = make_window(qapp, app_home.make(), PAGES, page_later=True)
    qtbot.addWidget(window)
    window.show()
    assert window.stack.count() == 0
    window.close()
    assert window.session.state.get("page") == PAGES[0].name


def test_what_the_index_remembers_is_shown_while_the_folders_are_looked_at(
    app_home: Home, session: Session, qtbot: QtBot
) -> None:
    engines = app_home.make().artifacts / "engines"
    for number in range(FIRST_ROWS + 6):
        make_engine(engines, f"engine-{number:03d}", created_at=1e9 + number)
    with Store.open(app_home) as store:
        store.sync()
    newest = engines / f"engine-{FIRST_ROWS + 5:03d}"
    (newest / "model.bin").unlink()
    first = read_first_rows(app_home)
    assert not first.complete and len(first.rows) == FIRST_ROWS and first.rows[0].path == newest
    assert badge_words(first.rows[0]) == ("\N{HORIZONTAL ELLIPSIS}", "", "Its folder is being looked at")
    full = read_rows(app_home, "cpu-1")
    assert full.complete and len(full.rows) == FIRST_ROWS + 6 and "model.bin is missing" in full.rows[0].missing

    page = EnginesPage(session)
    qtbot.addWidget(page)
    page.resize(1200, 800)
    page.show()
    page.opened()
    qtbot.waitUntil(lambda: page.model.rowCount() == FIRST_ROWS, timeout=WAIT_MS)
    assert (
        page.bar.count.text() == "looking at the folders"
        and cell(page.model.rows[0], RUNS) == "\N{HORIZONTAL ELLIPSIS}"
    )
    page.table.selectRow(3)
    chosen = page.table.current_rows()[0].path
    resets: list[bool] = []
    page.model.modelReset.connect(lambda: resets.append(True))
    qtbot.waitUntil(lambda: page.model.rowCount() == FIRST_ROWS + 6, timeout=WAIT_MS)
    assert [row.path for row in page.table.current_rows()] == [chosen] and not resets
    assert cell(page.model.rows[0], RUNS) == "not whole"
    page.close_page()


def test_the_pieces_are_all_that_the_pages_need(session: Session, qtbot: QtBot) -> None:
    done: list[bool] = []
    import_in_turns(session.tasks, PAGE_MODULES, lambda: done.append(True))
    assert not done and session.tasks.busy, "nothing is imported before the loop turns"
    qtbot.waitUntil(lambda: bool(done), timeout=WAIT_MS)
    folders = {"build": "builder"}
    wanted = {f"workbench.ui.pages.{folders.get(kind.name, kind.name)}.page" for kind in PAGES}
    assert wanted <= set(sys.modules) and not session.tasks.busy


def test_what_a_thread_imports_holds_no_qt() -> None:
    program = (
        "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'PySide6', 'shiboken6', 'pyqtgraph'}))"
    )
    done = subprocess.run([sys.executable, "-c", program, *GROUND], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_a_start_imports_qt_on_the_gui_thread_alone(app_home: Home) -> None:
    """Else the process dies now and then, when it paints meanwhile (workbench.ui.importing)."""
    program = (
        "import os, sys, threading\nelsewhere = []\n"
        "def heard(event, given):\n"
        "    if event == 'import' and threading.current_thread() is not threading.main_thread():\n"
        "        elsewhere.append(str(given[0]))\n"
        "sys.addaudithook(heard)\n"
        "from PySide6.QtCore import QTimer\nfrom workbench.ui import app as ui\n"
        "from workbench.ui.pages.all import PAGE_MODULES\n"
        "app = ui.make_application(['engine-workbench'])\n"
        "def look():\n"
        "    if 'workbench.ui.monitor.export' not in sys.modules or not sys.modules.keys() >= set(PAGE_MODULES):\n"
        "        return QTimer.singleShot(50, look)\n"
        "    qt = [n for n in elsewhere if n.split('.')[0] in ('PySide6', 'pyqtgraph') or 'workbench.ui' in n]\n"
        "    print(len(elsewhere) > 20, qt, flush=True)\n"
        "    app.exit(0)\n"
        "QTimer.singleShot(50, look)\nsys.exit(ui.main(['engine-workbench']))"
    )
    environ = {**os.environ, "WORKBENCH_HOME": str(app_home.root), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "True []\n", done.stderr
