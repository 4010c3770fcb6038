"""The table of all build flags over the shipped presets: who sets what, editing, checks, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from workbench.core.preset import Preset, apply_overrides, find_preset, list_presets
from workbench.toolchains.flag_sheet import flag_problems, flag_sheet, with_flag
from workbench.toolchains.tensorrt_llm.flag_table import flag_table
from workbench.toolchains.tensorrt_llm.flags import changed_flags, settings_from_preset
from workbench.ui.models.flags import FlagTable, flag_table_of, flags_of, flags_summary
from workbench.ui.pages.builder.flag_rows import DEFAULT, FLAG, HELP, ROW_ROLE, VALUE
from workbench.ui.pages.builder.flags import FlagsDialog
from workbench.ui.session import Session

FP8_2X = "llama-3.3-70b-fp8-2xh100"
Open = Callable[[Preset], FlagsDialog]


def with_flags(preset_id: str, **flags: object) -> Preset:
    preset = find_preset(preset_id)
    return preset.model_copy(update={"build": preset.build.model_copy(update={"flags": flags})})


@pytest.fixture
def opened(session: Session, qtbot: QtBot) -> Iterator[Open]:
    def make(preset: Preset) -> FlagsDialog:
        made = FlagsDialog(preset)
        qtbot.addWidget(made)
        made.show()
        qtbot.waitExposed(made)
        return made

    yield make


# --- the sheet ---


@pytest.mark.parametrize("preset", list_presets().presets, ids=lambda preset: preset.id)
def test_the_sheet_says_what_the_plan_will_do(preset: Preset) -> None:
    rows = flag_sheet(preset)
    if preset.toolchain != "tensorrt_llm":
        assert rows == () == flags_of(preset) and flags_summary(preset) == ""
        return
    settings = settings_from_preset(preset)
    assert [row.name for row in rows] == [flag.name for flag in flag_table()]
    assert {row.name: row.value for row in rows if row.changed} == changed_flags(settings)
    assert {row.name for row in rows if row.set_by} == set(settings) - set(preset.build.flags)
    assert flags_summary(preset).startswith("67 flags, ")
    assert not [problem for problem in flag_problems(preset) if problem.blocks]


def test_who_sets_a_flag_is_named_as_in_the_form() -> None:
    rows = {row.name: row for row in flag_sheet(find_preset(FP8_2X))}
    assert (rows["max_batch_size"].set_by, rows["max_batch_size"].value) == ("Batch limit", 16)
    assert "Batch limit" in rows["max_batch_size"].locked and "limits.max_batch_size" in rows["max_batch_size"].locked
    assert (rows["workers"].set_by, rows["workers"].locked) == ("Tensor parallel", "")
    assert "own checkpoint" in rows["checkpoint_dir"].locked
    assert rows["max_num_tokens"].locked and not rows["max_num_tokens"].set_by, "locked also where no limit is set"


def test_a_value_that_is_there_without_it_is_no_flag_of_the_preset() -> None:
    preset = find_preset(FP8_2X)
    changed = with_flag(preset, "workers", 1)
    assert changed.build.flags == {"workers": 1} and settings_from_preset(changed)["workers"] == 1
    assert with_flag(changed, "workers", 2).build.flags == {}
    assert with_flag(with_flags(FP8_2X, max_multimodal_len=4), "max_prompt_embedding_table_size", 8).build.flags == {
        "max_prompt_embedding_table_size": 8
    }, "under whichever name it was there"
    assert with_flag(preset, "use_fused_mlp", True).build.flags == {}, "true is enable, which is the default"
    assert changed.id == preset.id and preset.build.flags == {}


def test_problems_are_those_of_check_flags_and_of_values() -> None:
    table = flag_table_of(
        with_flags(FP8_2X, gemm_plugin="fpx", multiple_profiles="enable", opt_num_tokens=4096, no_such=1)
    )
    assert table.rows[0].name == "no_such" and len(table.rows) == 68
    assert {problem.flag for problem in table.refused} == {"gemm_plugin", "opt_num_tokens", "no_such"}
    mended = table.with_value("gemm_plugin", "fp8").with_value("opt_num_tokens", None).with_value("no_such", None)
    assert mended.refused == () and mended.flags == {"multiple_profiles": "enable", "gemm_plugin": "fp8"}
    assert table.reset().flags == {} and table.reset().problems == ()


def test_a_limit_among_the_flags_is_refused_as_the_plan_refuses_it() -> None:
    (problem,) = flag_problems(with_flags(FP8_2X, max_batch_size=4))
    assert problem.blocks and problem.flag == "max_batch_size" and "Batch limit" in problem.what


def test_the_gpu_counts_where_it_is_known() -> None:
    preset = with_flags("trtllm-fp8", low_latency_gemm_plugin="fp8")
    assert not flag_problems(preset)
    (problem,) = flag_problems(preset, compute_capability=(10, 0))
    assert problem.flag == "low_latency_gemm_plugin" and "10.0" in problem.what


# --- the dialog ---


def names(dialog: FlagsDialog) -> list[str]:
    return [dialog.proxy.index(number, FLAG).data() for number in range(dialog.proxy.rowCount())]


def edit(dialog: FlagsDialog, name: str, qtbot: QtBot) -> QWidget:
    """Open the editor of a flag by the keyboard."""
    dialog.choose(name)
    dialog.table.setFocus()
    qtbot.keyClick(dialog.table, Qt.Key.Key_Return)
    (editor,) = (
        child
        for kind in (QLineEdit, QComboBox)
        for child in dialog.table.viewport().findChildren(kind)
        if child.accessibleName() == f"Value of {name}" and child.isVisible()  # an older one may go yet
    )
    return editor


def value_of(table: FlagTable, name: str) -> object:
    row = table.row(name)
    assert row is not None
    return row.value


def test_every_flag_is_shown_with_value_default_and_help(opened: Open) -> None:
    dialog = opened(find_preset(FP8_2X))
    assert names(dialog) == [flag.name for flag in flag_table()]
    assert dialog.count.text() == "67 flags, 3 changed" == flags_summary(find_preset(FP8_2X))
    number = names(dialog).index("max_seq_len")
    shown = [dialog.proxy.index(number, column).data() for column in (FLAG, VALUE, DEFAULT, HELP)]
    assert shown[:3] == ["max_seq_len", "8\N{NARROW NO-BREAK SPACE}192", "not set"]
    said = dialog.proxy.index(number, VALUE).data(Qt.ItemDataRole.AccessibleTextRole)
    assert "set by Sequence limit" in said and "cannot be changed here" in said
    assert not dialog.apply_button.isEnabled(), "nothing has been changed yet"


def test_search_and_changed_only(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(find_preset(FP8_2X))
    dialog.only_changed.click()
    assert names(dialog) == ["max_batch_size", "max_seq_len", "workers"]
    dialog.only_changed.click()
    qtbot.keyClicks(dialog.search, "--gemm-plugin")
    assert {"gemm_plugin", "low_latency_gemm_plugin"} <= set(names(dialog)) and len(names(dialog)) < 10
    dialog.search.setText("no such effect")
    assert names(dialog) == [] and dialog.nothing.isVisible()


def test_a_number_is_typed_checked_and_applied(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(find_preset(FP8_2X))
    editor = edit(dialog, "tokens_per_block", qtbot)
    assert isinstance(editor, QLineEdit) and editor.text() == "32"
    editor.selectAll()
    qtbot.keyClicks(editor, "many")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.model.table.flags == {"tokens_per_block": "many"})
    assert dialog.isVisible(), "Enter in a cell does not close the dialog"
    assert "must be a whole number from 1" in dialog.problem.text() and dialog.wrong.isVisible()
    assert dialog.verdict.text() == "To be mended: tokens_per_block" and not dialog.apply_button.isEnabled()
    editor = edit(dialog, "tokens_per_block", qtbot)
    editor.selectAll()  # type: ignore[attr-defined]
    qtbot.keyClicks(editor, "64")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.model.table.flags == {"tokens_per_block": 64})
    assert not dialog.wrong.isVisible() and dialog.count.text() == "67 flags, 4 changed"
    with qtbot.waitSignal(dialog.applied) as sent:
        dialog.apply_button.click()
    assert sent.args == [{"tokens_per_block": 64}]
    assert settings_from_preset(with_flags(FP8_2X, **sent.args[0]))["tokens_per_block"] == 64


def test_a_choice_is_made_from_a_list(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(find_preset(FP8_2X))
    editor = edit(dialog, "multiple_profiles", qtbot)
    assert isinstance(editor, QComboBox) and not editor.isEditable()
    assert [editor.itemText(number) for number in range(editor.count())] == ["enable", "disable"]
    editor.setCurrentIndex(0)
    editor.activated.emit(0)
    assert dialog.model.table.flags == {"multiple_profiles": "enable"}
    editor = edit(dialog, "weight_streaming", qtbot)
    assert isinstance(editor, QComboBox) and editor.currentText() == "off"
    editor.setCurrentIndex(editor.findText("on"))
    editor.activated.emit(0)
    assert value_of(dialog.model.table, "weight_streaming") is True


def test_looking_at_a_wrong_choice_does_not_change_it(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(with_flags(FP8_2X, gemm_plugin="fpx"))
    editor = edit(dialog, "gemm_plugin", qtbot)
    assert isinstance(editor, QComboBox) and editor.currentText() == "fpx"
    qtbot.keyClick(editor, Qt.Key.Key_Tab)
    dialog.search.setFocus()
    assert dialog.model.table.flags == {"gemm_plugin": "fpx"}


def test_true_of_a_toggle_is_shown_as_the_program_says_it() -> None:
    (row,) = (row for row in flag_sheet(with_flags(FP8_2X, multiple_profiles=True)) if row.name == "multiple_profiles")
    assert row.value == "enable" and row.changed


def test_what_another_setting_sets_has_no_editor(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(find_preset(FP8_2X))
    dialog.choose("max_batch_size")
    dialog.table.setFocus()
    qtbot.keyClick(dialog.table, Qt.Key.Key_Return)
    assert not [child for child in dialog.table.viewport().findChildren(QLineEdit)]
    assert "Batch limit" in dialog.message.text() and not dialog.reset_button.isEnabled()


def test_reset_one_and_all(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(with_flags(FP8_2X, multiple_profiles="enable", tokens_per_block=64, gone_flag=1))
    assert not dialog.apply_button.isEnabled() and names(dialog)[0] == "gone_flag"
    dialog.choose("gone_flag")
    dialog.reset_button.click()
    assert "gone_flag" not in names(dialog) and dialog.apply_button.isEnabled()
    dialog.choose("tokens_per_block")
    dialog.table.setFocus()
    qtbot.keyClick(dialog.table, Qt.Key.Key_Delete)
    assert dialog.model.table.flags == {"multiple_profiles": "enable"}
    dialog.reset_all_button.click()
    assert dialog.model.table.flags == {} and dialog.count.text() == "67 flags, 3 changed"
    with qtbot.waitSignal(dialog.applied) as sent:
        dialog.apply_button.click()
    assert sent.args == [{}]


def test_a_hint_does_not_keep_flags_from_being_used(opened: Open) -> None:
    preset = apply_overrides(find_preset(FP8_2X), ["build.flags.norm_quant_fusion=enable"])
    dialog = opened(preset)
    dialog.choose("norm_quant_fusion")
    assert "no effect here" in dialog.problem.text() and dialog.wrong.isVisible()
    dialog.model.take(dialog.model.table.with_value("tokens_per_block", 64))
    assert dialog.apply_button.isEnabled() and dialog.verdict.text() == ""


def test_every_control_is_named_and_escape_changes_nothing(opened: Open, qtbot: QtBot) -> None:
    dialog = opened(find_preset(FP8_2X))
    for control in (dialog.search, dialog.only_changed, dialog.table, dialog.reset_button, dialog.apply_button):
        assert control.accessibleName() and control.focusPolicy() & Qt.FocusPolicy.TabFocus
    row = dialog.proxy.index(0, FLAG).data(ROW_ROLE)
    assert row.name == "checkpoint_dir"
    with qtbot.assertNotEmitted(dialog.applied):
        qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
        assert dialog.isVisible()
        qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()
