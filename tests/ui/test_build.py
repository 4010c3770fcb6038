"""The Build page in the real window: the form is the schema, preflight follows typing, commands build the same."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QDialog, QLineEdit
from pytestqt.qtbot import QtBot

from tests.cli.command import ROOT, workbench
from tests.fakes.models import LLAMA_70B, make_config_folder, make_tiny_folder
from tests.ui.conftest import OpenWindow
from workbench.core.home import Home
from workbench.core.preset import Preset, apply_overrides, find_preset, load_preset, save_preset
from workbench.core.preset_fields import preset_groups
from workbench.ui.models.preflight import Answer, Preflights, Question
from workbench.ui.pages.builder.chosen import ChosenPreset
from workbench.ui.pages.builder.dialogs import PrecisionsDialog, SavePresetDialog
from workbench.ui.pages.builder.form import HIDDEN
from workbench.ui.pages.builder.gallery import GalleryPane
from workbench.ui.pages.builder.page import BuildPage
from workbench.ui.pages.builder.remembered import Remembered
from workbench.ui.widgets.editors import ChoiceEditor, NumberEditor
from workbench.ui.window import Window

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window(size=(1600, 1000))


@pytest.fixture
def page(window: Window, qtbot: QtBot) -> BuildPage:
    window.show_page("build")
    made = window.page("build")
    assert isinstance(made, BuildPage)
    qtbot.waitUntil(lambda: made.form is not None, timeout=10000)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_folder(tmp_path / "tiny-llama")


def answered(qtbot: QtBot, page: BuildPage) -> Answer:
    qtbot.waitUntil(lambda: not page.asker.waiting and page.answer is not None, timeout=10000)
    assert page.answer is not None
    return page.answer


def choose(qtbot: QtBot, page: BuildPage, preset: str) -> None:
    if page.form is not None and page.form.base.id == preset:
        return  # choosing it again would take back what is typed meanwhile
    page.chosen.choose(preset)
    qtbot.waitUntil(lambda: page.form is not None and page.form.base.id == preset, timeout=10000)


def type_into(qtbot: QtBot, edit: QLineEdit, text: str) -> None:
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClick(edit, Qt.Key.Key_Delete)
    qtbot.keyClicks(edit, text)


def number(page: BuildPage, *path: str) -> QLineEdit:
    assert page.form is not None
    editor = page.form.rows[path].editor
    assert isinstance(editor, NumberEditor)
    return editor.edit


def test_the_form_is_the_schema(page: BuildPage) -> None:
    assert page.form is not None
    everything = {field.path for group in preset_groups() for field in group.fields}
    assert set(page.form.rows) == everything - HIDDEN
    for path, row in page.form.rows.items():
        assert row.name.text() == row.field.title and row.field.help in row.name.toolTip(), path
        assert row.editor.focusProxy() is not None and row.editor.focusProxy().accessibleName(), path


@pytest.mark.parametrize("preset", ["cpu-int8", "cpu-int4-awq", "llama-3.3-70b-fp8-8xh200", "trtllm-w4a8-awq"])
def test_a_form_that_nobody_touched_says_its_preset(qtbot: QtBot, page: BuildPage, preset: str) -> None:
    choose(qtbot, page, preset)
    assert page.form is not None and page.form.preset is not None
    assert page.form.preset.to_data() == find_preset(preset).to_data() and page.form.changes == 0


def test_preflight_follows_the_typing(qtbot: QtBot, page: BuildPage, model: Path) -> None:
    choose(qtbot, page, "cpu-int8")
    type_into(qtbot, page.model.edit, str(model))
    report = answered(qtbot, page).report
    assert report is not None and "LlamaForCausalLM" in page.model.facts.text()
    assert page.card.state.text() in ("can be built", "cannot be built")
    edit = number(page, "limits", "max_batch_size")
    type_into(qtbot, edit, "77")
    after = answered(qtbot, page)
    assert after.question.preset.limits.max_batch_size == 77
    assert "--set limits.max_batch_size=77" in page.bottom.box.toPlainText()
    assert page.form is not None and page.form.rows["limits", "max_batch_size"].mark.text() == "●"
    page.chosen.reset()
    assert edit.text() == "16" and page.form.changes == 0


def test_a_wrong_value_is_said_beside_its_field_and_stops_build(qtbot: QtBot, page: BuildPage, model: Path) -> None:
    page.model.set_model(str(model))
    answered(qtbot, page)
    type_into(qtbot, number(page, "limits", "max_batch_size"), "0")
    assert page.form is not None
    row = page.form.rows["limits", "max_batch_size"]
    assert "from 1 to 8192" in row.problem.text() and not row.problem.isHidden()
    assert not page.bottom.build.isEnabled() and page.card.state.text() == "not complete"
    type_into(qtbot, number(page, "limits", "max_batch_size"), "4")
    answered(qtbot, page)
    assert row.problem.isHidden()
    type_into(qtbot, number(page, "limits", "max_input_len"), "900")
    type_into(qtbot, number(page, "limits", "max_seq_len"), "300")
    assert "counts prompt and answer together" in page.form.rows["limits", "max_input_len"].problem.text()


@pytest.mark.slow
def test_an_advice_line_changes_what_it_says(qtbot: QtBot, page: BuildPage, tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "Llama-70B", **LLAMA_70B)
    choose(qtbot, page, "cpu-int8")
    page.model.set_model(str(folder))
    answered(qtbot, page)
    type_into(qtbot, number(page, "limits", "max_seq_len"), "200000")
    answered(qtbot, page)
    line = next(row for row in page.card.rows if row.advice.code == "sequence-over-model")
    assert line.button.text() == "Set sequence limit 131\u202f072 tokens"
    qtbot.mouseClick(line.button, LEFT)
    assert page.form is not None and page.form.preset is not None
    assert page.form.preset.limits.max_seq_len == 131072
    answered(qtbot, page)
    assert all(row.advice.code != "sequence-over-model" for row in page.card.rows)
    assert all(row.button.text() for row in page.card.rows)


def test_what_the_toolchain_cannot_have_is_grey_and_says_why(qtbot: QtBot, page: BuildPage, model: Path) -> None:
    choose(qtbot, page, "cpu-int8")
    page.model.set_model(str(model))
    answered(qtbot, page)
    assert page.form is not None
    editor = page.form.rows["precision", "weights"].editor
    assert isinstance(editor, ChoiceEditor) and editor.combo is not None
    at = editor.field.choices.index("fp8")
    item = editor.combo.model().item(at)  # type: ignore[attr-defined]
    assert not item.isEnabled() and "NVIDIA GPU" in item.toolTip()
    assert not page.form.rows["precision", "method"].editor.isEnabled(), "INT8 has no method"
    assert not page.form.rows["calibration", "samples"].editor.isEnabled(), "nor calibration"


@pytest.mark.slow
def test_the_commands_build_what_the_form_says(qtbot: QtBot, page: BuildPage, model: Path) -> None:
    choose(qtbot, page, "cpu-int4-awq")
    page.model.set_model(str(model))
    type_into(qtbot, number(page, "calibration", "samples"), "64")
    type_into(qtbot, number(page, "runtime", "kv_cache_gib"), "0.25")
    answer = answered(qtbot, page)
    argv = shlex.split(page.bottom.box.lines[0])
    assert argv[:2] == ["workbench", "build"]
    ran = workbench(*argv[1:], "--dry-run", "--json")
    assert page.form is not None and page.form.preset is not None
    assert ran.json["preset"] == page.form.preset.to_data(), ran.err
    assert [step["id"] for step in ran.json["steps"]] == [step.id for step in answer.report.steps]  # type: ignore[union-attr]
    page.verbs.copy()
    assert QGuiApplication.clipboard().text() == "\n".join(page.bottom.box.lines)


def test_a_script_is_saved_that_a_shell_runs(qtbot: QtBot, page: BuildPage, model: Path, tmp_path: Path) -> None:
    page.model.set_model(str(model))
    answer = answered(qtbot, page)
    assert answer.build is not None
    from workbench.ui.models.builds import script_text

    path = tmp_path / "with space" / "build.sh"
    path.parent.mkdir()
    page.verbs.write_script(path, script_text(answer.build.argv, page.session.home))
    qtbot.waitUntil(path.exists, timeout=5000)
    assert os.access(path, os.X_OK)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    stand_in = bin_folder / "workbench"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$WORKBENCH_HOME" "$@"\n')
    stand_in.chmod(0o700)
    ran = subprocess.run(
        [str(path)], env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}, capture_output=True, text=True
    )
    assert ran.stdout.splitlines() == [str(page.session.home.root), *answer.build.argv[1:]], ran.stderr


def test_several_precisions_are_one_job_of_the_same_plan(qtbot: QtBot, page: BuildPage, model: Path) -> None:
    choose(qtbot, page, "cpu-int8")
    page.model.set_model(str(model))
    answered(qtbot, page)
    page.build_several()
    dialog = next(d for d in page.window().findChildren(QDialog) if isinstance(d, PrecisionsDialog))
    assert [p.value for p in dialog.boxes] == ["fp16", "int8", "int4"], "by bits, and only what OpenVINO makes"
    for box in dialog.boxes.values():
        box.setChecked(True)
    assert dialog.chosen == ("fp16", "int8", "int4") and dialog.start.text() == "Build 3"
    dialog.reject()
    qtbot.waitUntil(lambda: not page.window().findChildren(PrecisionsDialog), timeout=2000)


def test_a_preset_is_saved_listed_and_chosen(qtbot: QtBot, page: BuildPage) -> None:
    choose(qtbot, page, "cpu-int8")
    type_into(qtbot, number(page, "limits", "max_batch_size"), "5")
    page.verbs.save_preset()
    dialog = next(d for d in page.window().findChildren(QDialog) if isinstance(d, SavePresetDialog))
    dialog.name.setText("five-at-once")
    dialog.title.setText("Five at once")
    qtbot.mouseClick(dialog.ok, LEFT)
    path = page.session.home.presets / "five-at-once.toml"
    qtbot.waitUntil(lambda: path.exists() and page.gallery.chosen_id == "five-at-once", timeout=10000)
    saved = load_preset(path)
    assert saved.limits.max_batch_size == 5 and saved.title == "Five at once"
    qtbot.waitUntil(lambda: page.chosen.gallery.card("five-at-once") is not None, timeout=10000)
    assert page.form is not None and page.form.changes == 0


def test_saving_a_preset_puts_nothing_aside(qtbot: QtBot, page: BuildPage) -> None:
    choose(qtbot, page, "cpu-int8")
    type_into(qtbot, number(page, "limits", "max_batch_size"), "5")
    type_into(qtbot, number(page, "runtime", "kv_cache_gib"), "0.25")
    page.verbs.save_preset()
    dialog = next(d for d in page.window().findChildren(QDialog) if isinstance(d, SavePresetDialog))
    dialog.name.setText("mine")
    dialog.title.setText("Mine")
    dialog.text.setPlainText("Five at once, of a quarter GiB.")
    qtbot.mouseClick(dialog.ok, LEFT)
    qtbot.waitUntil(lambda: page.form is not None and page.form.base.id == "mine", timeout=10000)
    assert [notice.text for notice in page.session.notices.kept] == ["Saved mine.toml among your presets."]
    type_into(qtbot, number(page, "limits", "max_batch_size"), "6")
    choose(qtbot, page, "cpu-int8")
    assert page.session.notices.kept[-1].text == "1 change to Mine was put aside."


@pytest.mark.slow
def test_a_preset_that_is_edited_on_disk_is_taken_or_offered(qtbot: QtBot, page: BuildPage) -> None:
    home = page.session.home
    home.presets.mkdir(exist_ok=True)
    mine = save_preset(find_preset("cpu-int8"), home.presets / "mine.toml")
    choose(qtbot, page, "mine")
    path = home.presets / "mine.toml"
    save_preset(mine.model_copy(update={"verify": mine.verify.model_copy(update={"enabled": False})}), path)
    qtbot.waitUntil(lambda: page.form is not None and not page.form.base.verify.enabled, timeout=10000)
    type_into(qtbot, number(page, "limits", "max_batch_size"), "3")
    save_preset(mine, path)
    notices = page.session.notices
    qtbot.waitUntil(lambda: any(n.button == "Show the file's values" for n in notices.kept), timeout=10000)
    assert page.form is not None and page.form.preset is not None
    assert page.form.preset.limits.max_batch_size == 3, "what was typed is kept"
    path.write_text("schema = 1\nthis is not TOML")
    qtbot.waitUntil(lambda: any(n.level == "error" and "line 2" in n.text for n in notices.kept), timeout=10000)
    assert page.form.preset.limits.max_batch_size == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "nothing-here", "does not exist"),
        (lambda p: p, "is empty"),
    ],
)
def test_a_model_folder_that_is_none_is_said(
    qtbot: QtBot, page: BuildPage, tmp_path: Path, make: Any, words: str
) -> None:
    page.model.set_model(str(make(tmp_path)))
    answer = answered(qtbot, page)
    assert answer.failure is not None and page.card.state.text() == "cannot be planned"
    assert words in page.card.rows[0].advice.text + page.card.rows[0].advice.arithmetic
    assert not page.bottom.build.isEnabled()


class StalledShare(Preflights):
    """Reads every folder but one, whose file system answers only when it is let go."""

    def __init__(self, home: Home, stalled: str) -> None:
        super().__init__(home)
        self.stalled, self.go = stalled, threading.Event()

    def answer(self, question: Question) -> Answer:
        if question.model == self.stalled:
            self.go.wait()
        return super().answer(question)


@pytest.mark.slow
def test_a_share_that_stalls_holds_nothing_up(qtbot: QtBot, page: BuildPage, model: Path, tmp_path: Path) -> None:
    share = StalledShare(page.session.home, str(tmp_path / "away"))
    page.asker._preflights = share
    with qtbot.waitSignal(page.asker.slow, timeout=10000):
        page.model.set_model(share.stalled)
    assert page.card.state.text() == "waiting" and "does not answer" in page.model.facts.text()
    for text in ("11", "12", "13"):
        type_into(qtbot, number(page, "limits", "max_batch_size"), text)
        qtbot.wait(80)
    page.model.set_model(str(model))
    answer = answered(qtbot, page)
    assert answer.report is not None and answer.question.preset.limits.max_batch_size == 13
    share.go.set()
    qtbot.wait(100)
    assert page.answer is answer, "the late answer is not shown"


def test_a_file_that_never_ends_is_no_model(qtbot: QtBot, page: BuildPage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    page.model.set_model(str(tmp_path))
    assert answered(qtbot, page).failure is not None


def test_a_folder_and_a_preset_are_dropped(
    qtbot: QtBot, window: Window, page: BuildPage, model: Path, tmp_path: Path
) -> None:
    preset = save_preset(find_preset("cpu-fp16"), tmp_path / "dropped.toml")
    for path in (model, tmp_path / "dropped.toml"):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        event = QDropEvent(QPointF(QPoint(5, 5)), Qt.DropAction.CopyAction, data, LEFT, Qt.KeyboardModifier.NoModifier)
        window.dropEvent(event)
    qtbot.waitUntil(lambda: page.form is not None and page.form.base.source == preset.source, timeout=10000)
    assert page.model.model == str(model)
    assert answered(qtbot, page).report is not None
    assert shlex.split(page.bottom.box.lines[0])[2] == str(tmp_path / "dropped.toml")


def test_the_form_is_kept_between_starts(
    qtbot: QtBot, open_window: OpenWindow, window: Window, page: BuildPage, model: Path
) -> None:
    choose(qtbot, page, "cpu-int4")
    page.model.set_model(str(model))
    type_into(qtbot, number(page, "limits", "max_batch_size"), "6")
    assert page.form is not None
    page.form.folds["Runtime"].set_open(False)
    window.close()
    after = open_window().page("build")
    assert isinstance(after, BuildPage)
    qtbot.waitUntil(lambda: after.form is not None, timeout=10000)
    assert after.form is not None and after.form.preset is not None
    assert after.form.base.id == "cpu-int4" and after.form.preset.limits.max_batch_size == 6
    assert after.model.model == str(model) and not after.form.folds["Runtime"].is_open


def test_what_was_remembered_is_not_lost_before_there_is_a_form(qtbot: QtBot, page: BuildPage) -> None:
    type_into(qtbot, number(page, "limits", "max_batch_size"), "6")
    kept = page.state()
    early = ChosenPreset(page.session, GalleryPane(), page)
    early.restore(Remembered.from_state(kept).form)
    assert early.form is None
    assert Remembered.from_state(kept) == Remembered.from_state(json.loads(json.dumps(kept)))
    assert Remembered(early.state).to_state().items() <= kept.items()


def test_a_repository_is_named_and_offered_to_download(qtbot: QtBot, page: BuildPage) -> None:
    page.model.set_model("somebody/some-model")
    answer = answered(qtbot, page)
    assert answer.repository == "somebody/some-model" and not page.model.get.isHidden()
    assert not page.bottom.build.isEnabled()


def test_a_70b_is_planned_for_gpus_that_are_not_here(qtbot: QtBot, page: BuildPage, tmp_path: Path) -> None:
    folder = make_config_folder(tmp_path / "Llama-70B", **LLAMA_70B)
    choose(qtbot, page, "llama-3.3-70b-fp8-8xh200")
    page.model.set_model(str(folder))
    answer = answered(qtbot, page)
    assert answer.report is not None and answer.report.numbers.engines[0].gpus == 8
    assert page.card.state.text() == "not on this machine" and not page.bottom.build.isEnabled()
    assert any(line.startswith("trtllm-build ") for line in page.bottom.box.lines)
    line = next(row for row in page.card.rows if row.advice.code == "no-gpu")
    qtbot.mouseClick(line.button, LEFT)
    assert page.bottom.until == "quantize"
    answer = answered(qtbot, page)
    assert "--until quantize" in page.bottom.box.toPlainText()
    assert all(row.advice.code != "no-gpu" for row in page.card.rows)
    assert json.loads(json.dumps(page.state()))["model"] == str(folder)


def test_what_is_typed_is_asked_about_whatever_was_used_before(qtbot: QtBot, page: BuildPage, tmp_path: Path) -> None:
    first, longer = make_tiny_folder(tmp_path / "llama"), make_tiny_folder(tmp_path / "llama-fp8")
    page.model.set_recent([str(longer)])
    type_into(qtbot, page.model.edit, str(first))
    assert answered(qtbot, page).question.model == str(first) == page.model.model


@pytest.mark.parametrize(
    ("text", "value"), [("2.5", 2.5), ("1 000", 1000.0), ("2,5", None), ("0,25", None), ("1e999", None), ("", 0)]
)
def test_a_decimal_comma_is_not_read_as_thousands(
    qtbot: QtBot, page: BuildPage, text: str, value: float | None
) -> None:
    type_into(qtbot, number(page, "runtime", "kv_cache_gib"), text)
    assert page.form is not None
    if value is None:
        assert page.form.preset is None and page.form.rows["runtime", "kv_cache_gib"].problem.text()
    else:
        assert page.form.preset is not None and page.form.preset.runtime.kv_cache_gib == (value or None)


def test_no_command_names_a_preset_that_is_another_by_now(qtbot: QtBot, page: BuildPage, model: Path) -> None:
    home = page.session.home
    home.presets.mkdir(exist_ok=True)
    limits = find_preset("cpu-int8").limits.model_copy(update={"max_batch_size": 3})
    save_preset(find_preset("cpu-int8").model_copy(update={"limits": limits}), home.presets / "cpu-int8.toml")
    page.chosen.choose("cpu-int8")
    qtbot.waitUntil(lambda: page.form is not None and page.form.base.limits.max_batch_size == 3, timeout=10000)
    page.model.set_model(str(model))
    answered(qtbot, page)
    assert page.bottom.box.lines[0].startswith("workbench build cpu-int8 ")
    (home.presets / "cpu-int8.toml").unlink()
    type_into(qtbot, number(page, "limits", "max_batch_size"), "4")
    answer = answered(qtbot, page)
    assert answer.build is None and not page.bottom.script.isEnabled()
    assert "Save as preset" in page.bottom.about.text()


def test_a_flag_that_was_taken_out_is_said_in_the_command(
    qtbot: QtBot, page: BuildPage, model: Path, tmp_path: Path
) -> None:
    base = apply_overrides(
        find_preset("trtllm-fp8"), ["build.flags.gemm_plugin=auto", "build.flags.paged_state=disable"]
    )
    path = tmp_path / "flags.toml"
    page.chosen.choose(str(save_preset(base, path).source))
    qtbot.waitUntil(lambda: page.form is not None and page.form.base.id == "flags", timeout=10000)
    page.model.set_model(str(model))
    assert page.form is not None
    page.form.set_flags({"paged_state": "disable"})
    answer = answered(qtbot, page)
    assert answer.build is not None and "build.flags.gemm_plugin=" in answer.build.argv
    items = [answer.build.argv[at + 1] for at, word in enumerate(answer.build.argv) if word == "--set"]
    assert page.form.preset is not None
    assert apply_overrides(load_preset(path), items).to_data() == page.form.preset.to_data()


def test_a_download_that_ends_takes_nobodys_model_away(
    qtbot: QtBot, page: BuildPage, model: Path, tmp_path: Path
) -> None:
    page.model.set_model(str(model))
    page.runner.fetched.emit(str(tmp_path / "other"), False, "somebody/other")
    assert page.model.model == str(model) and page.session.notices.kept[-1].button == "Use it"
    page.model.set_model("somebody/other")
    page.runner.fetched.emit(str(tmp_path / "other"), False, "somebody/other")
    assert page.model.model == str(tmp_path / "other")


def test_changes_are_put_aside_and_can_be_taken_back(qtbot: QtBot, page: BuildPage) -> None:
    choose(qtbot, page, "cpu-int8")
    type_into(qtbot, number(page, "limits", "max_batch_size"), "9")
    choose(qtbot, page, "cpu-int4")
    notice = page.session.notices.kept[-1]
    assert notice.text == "1 change to CPU INT8 was put aside." and notice.do is not None
    edited: list[Preset | None] = []
    page.chosen.edited.connect(lambda: edited.append(page.chosen.now))
    notice.do()
    assert page.form is not None and page.form.preset is not None
    assert page.form.base.id == "cpu-int8" and page.form.preset.limits.max_batch_size == 9
    assert edited == [page.form.preset], "it is put back in one go"
    assert page.gallery.chosen_id == "cpu-int8" and page.subtitle == page.form.base.title
    assert page.session.notices.kept[-1] == notice, "and nothing more is said"


def test_one_wrong_value_at_the_end_does_not_lose_the_others(qtbot: QtBot, page: BuildPage) -> None:
    type_into(qtbot, number(page, "limits", "max_batch_size"), "6")
    type_into(qtbot, number(page, "limits", "max_seq_len"), "0")
    page.bottom.set_until("quantize")
    kept = page.state()
    assert kept["form"]["limits"]["max_batch_size"] == 6 and kept["until"] == "quantize"
    page.restore({"folds": [], "form": 3, "until": 7, "recent": "x", "model": None, "gallery": []})


@pytest.mark.parametrize(
    ("name", "right"),
    [("../evil", False), ("/abs/evil", False), ("we ird", False), ("é", False), ("fine.toml", True), ("", False)],
)
def test_a_name_for_a_preset_is_judged_while_it_is_typed(qtbot: QtBot, page: BuildPage, name: str, right: bool) -> None:
    page.verbs.save_preset()
    dialog = next(d for d in page.window().findChildren(QDialog) if isinstance(d, SavePresetDialog))
    dialog.name.setText(name)
    assert dialog.ok.isEnabled() is right and dialog.said.text()
    assert not right or dialog.preset_id == "fine"
    dialog.name.setText("cpu-int4")
    assert "hides the shipped one" in dialog.said.text()
    dialog.reject()


def test_the_focus_stays_on_the_card_when_its_button_did_something(
    qtbot: QtBot, page: BuildPage, tmp_path: Path
) -> None:
    folder = make_config_folder(tmp_path / "Llama-70B", **LLAMA_70B)
    choose(qtbot, page, "cpu-int8")
    page.model.set_model(str(folder))
    type_into(qtbot, number(page, "limits", "max_seq_len"), "200000")
    answered(qtbot, page)
    line = next(row for row in page.card.rows if row.advice.code == "sequence-over-model")
    line.button.setFocus()
    qtbot.keyClick(line.button, Qt.Key.Key_Space)
    answered(qtbot, page)
    assert page.card.rows[0].button.hasFocus()


def test_names_that_no_file_system_takes_are_said(qtbot: QtBot, page: BuildPage) -> None:
    for name in ("a\0b", "a" * 300 + "/b", "~nobody-of-that-name/x"):
        page.model.set_model(name)
        failure = answered(qtbot, page).failure
        assert failure is not None and failure.code == "bad-model", name
        page.answer = None


@pytest.mark.slow
def test_two_megabytes_in_a_field_leave_the_window_alive(qtbot: QtBot, page: BuildPage, model: Path) -> None:
    page.model.set_model(str(model))
    answered(qtbot, page)
    assert page.form is not None
    editor = page.form.rows["verify", "prompts"].editor
    editor.set_value(["x" * 2_000_000])
    editor.changed.emit()
    answer = answered(qtbot, page)
    assert answer.build is None and "too long" in answer.no_build
    assert answer.took_ms < 5000


NEW_FIELD = '''
import importlib.util, os, sys, types
from pathlib import Path
name = "workbench.core.preset_schema"
path = importlib.util.find_spec(name).origin
head = 'class RuntimeTable(PresetTable):\\n    """[runtime]"""\\n'
source = Path(path).read_text()
assert source.count(head) == 1
line = '    lookahead: int = preset_field(3, "Lookahead", "Tokens that are guessed.", unit="tokens", ge=1, le=9)\\n'
made = types.ModuleType(name)
made.__file__, sys.modules[name] = path, made
exec(compile(source.replace(head, head + "\\n" + line), path, "exec"), made.__dict__)

from workbench.core.preset import find_preset
from workbench.ui.app import make_application
from workbench.ui.pages.builder.form import Form
from workbench.ui.theme import Theme

app = make_application(["x"])
Theme(app)
form = Form(find_preset("cpu-int8"))
row = form.rows["runtime", "lookahead"]
assert (row.name.text(), row.unit.text(), row.editor.value()) == ("Lookahead", "tokens", 3)
assert form.folds["Runtime"].isAncestorOf(row.editor)
row.editor.edit.setText("12")
form._edited(("runtime", "lookahead"))
assert form.preset is None and "from 1 to 9" in row.problem.text()
row.editor.edit.setText("9")
form._edited(("runtime", "lookahead"))
assert form.preset.runtime.lookahead == 9 and row.mark.text()
print("it is there")
'''


@pytest.mark.slow
def test_a_new_field_of_the_schema_is_in_the_form_without_any_code() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NEW_FIELD],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.strip() == "it is there", ran.stderr
