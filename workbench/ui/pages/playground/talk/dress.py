"""Markdown that Qt imported, given the theme's faces, sizes, colours and distances; pictures are named, not shown."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import (
    QBrush,
    QFont,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextFrameFormat,
    QTextLength,
    QTextTable,
    QTextTableFormat,
)

from workbench.ui.pages.playground.talk.markdown import right_to_left
from workbench.ui.theme import BASE, LARGE, mono_font, theme

LINE, CODE_LINE = 22, 20
PARAGRAPH_GAP = 10
AT_LEAST = QTextBlockFormat.LineHeightTypes.MinimumHeight.value
EXACTLY = QTextBlockFormat.LineHeightTypes.FixedHeight.value


def direction(text: str) -> Qt.LayoutDirection:
    return Qt.LayoutDirection.RightToLeft if right_to_left(text) else Qt.LayoutDirection.LeftToRight


def dress(document: QTextDocument, *, pictures: bool = False) -> None:
    """Give an imported document our faces, sizes, colours and distances; with `pictures` they stay, else they are taken
    out and named."""
    cursor = QTextCursor(document)
    cursor.beginEditBlock()
    if not pictures:
        _name_pictures(document)
    block = document.begin()
    while block.isValid():
        _dress_block(block)
        block = block.next()
    for frame in document.rootFrame().childFrames():
        if isinstance(frame, QTextTable):
            _dress_table(frame)
        else:
            shape = QTextFrameFormat(frame.frameFormat())
            shape.setMargin(0)
            frame.setFrameFormat(shape)
    last = document.lastBlock()
    if last != document.begin() and not last.text() and not last.blockFormat().hasProperty(_RULER):
        QTextCursor(last).mergeBlockFormat(_thin())
    cursor.endEditBlock()


_RULER = QTextFormat.Property.BlockTrailingHorizontalRulerWidth.value
_QUOTED = QTextFormat.Property.BlockQuoteLevel.value
_CODE_FENCE = QTextFormat.Property.BlockCodeFence.value


def _name_pictures(document: QTextDocument) -> None:
    """`![words](address)` becomes `[picture: words]`, a link to the address."""
    found: list[tuple[int, int, str, str]] = []
    block = document.begin()
    while block.isValid():
        at = block.begin()
        while not at.atEnd():
            fragment = at.fragment()
            shape = fragment.charFormat()
            if shape.isImageFormat():
                words = str(shape.property(QTextFormat.Property.ImageAltText.value) or "")
                address = shape.toImageFormat().name()
                found.append((fragment.position(), fragment.length(), words, address))
            at += 1  # type: ignore[operator]
        block = block.next()
    for position, length, words, address in reversed(found):
        cursor = QTextCursor(document)
        cursor.setPosition(position)
        cursor.setPosition(position + length, QTextCursor.MoveMode.KeepAnchor)
        shape = QTextCharFormat()
        shape.setAnchor(True)
        shape.setAnchorHref(address)
        cursor.insertText(f"[picture: {words or address}]", shape)


def _thin() -> QTextBlockFormat:
    """An empty block that the importer leaves after a table."""
    shape = QTextBlockFormat()
    shape.setLineHeight(1, EXACTLY)
    shape.setTopMargin(0)
    shape.setBottomMargin(0)
    return shape


def _dress_block(block: QTextBlock) -> None:
    now = block.blockFormat()
    cursor = QTextCursor(block)
    shape = QTextBlockFormat()
    in_table = cursor.currentTable() is not None
    shape.setLineHeight(18 if in_table else LINE, AT_LEAST)
    shape.setLayoutDirection(direction(block.text()))
    in_list = block.textList() is not None
    first = block.blockNumber() == 0
    last = not block.next().isValid()
    level = now.headingLevel()
    follows_list = in_list and block.next().isValid() and block.next().textList() is not None
    below = 0 if last or in_table else 3 if follows_list else PARAGRAPH_GAP
    code = now.hasProperty(_CODE_FENCE) or now.nonBreakableLines()
    if code:
        shape.setBackground(QBrush(theme().colour("sunken")))
        shape.setLineHeight(CODE_LINE, EXACTLY)
        shape.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        follows = block.next().isValid() and block.next().blockFormat().nonBreakableLines()
        below = 0 if follows or last else PARAGRAPH_GAP
    if now.hasProperty(_QUOTED):
        shape.setLeftMargin(16 * max(int(now.property(_QUOTED) or 1), 1))
        shape.setRightMargin(0)
    shape.setTopMargin(0 if first or not level else 4)
    shape.setBottomMargin(6 if level and not last else below)
    if now.hasProperty(_RULER):
        shape.setLineHeight(9, EXACTLY)
        shape.setProperty(QTextFormat.Property.BackgroundBrush.value, QBrush(theme().colour("line2")))
    cursor.mergeBlockFormat(shape)
    if now.hasProperty(_QUOTED):
        _merge_chars(block, 0, block.length(), _coloured("text2"))
    if level:
        _size_heading(block, level)
    at, spans = block.begin(), []
    while not at.atEnd():
        fragment = at.fragment()
        found = fragment.charFormat()
        start = fragment.position() - block.position()
        if level or found.fontWeight() > QFont.Weight.DemiBold:
            spans.append((start, fragment.length(), _bold()))
        if found.isAnchor():
            spans.append((start, fragment.length(), _link()))
        elif found.fontFixedPitch() or code:
            spans.append((start, fragment.length(), _mono(code)))
        at += 1  # type: ignore[operator]
    for start, length, chars in spans:
        _merge_chars(block, start, length, chars)


def _merge_chars(block: QTextBlock, start: int, length: int, shape: QTextCharFormat) -> None:
    cursor = QTextCursor(block)
    cursor.setPosition(block.position() + start)
    end = min(start + length, block.length() - 1)
    cursor.setPosition(block.position() + end, QTextCursor.MoveMode.KeepAnchor)
    cursor.mergeCharFormat(shape)


def _coloured(token: str) -> QTextCharFormat:
    shape = QTextCharFormat()
    shape.setForeground(theme().colour(token))
    return shape


def _bold() -> QTextCharFormat:
    """Our bold is weight 600."""
    shape = QTextCharFormat()
    shape.setFontWeight(QFont.Weight.DemiBold)
    return shape


def _size_heading(block: QTextBlock, level: int) -> None:
    """The importer's size is relative to the document's font, and must be taken away: it wins over any other."""
    found = []
    at = block.begin()
    while not at.atEnd():
        fragment = at.fragment()
        shape = QTextCharFormat(fragment.charFormat())
        shape.clearProperty(QTextFormat.Property.FontSizeAdjustment.value)
        shape.setProperty(QTextFormat.Property.FontPixelSize.value, LARGE if level < 3 else BASE)
        found.append((fragment.position(), fragment.length(), shape))
        at += 1  # type: ignore[operator]
    for position, length, shape in found:
        cursor = QTextCursor(block)
        cursor.setPosition(position)
        cursor.setPosition(position + length, QTextCursor.MoveMode.KeepAnchor)
        cursor.setCharFormat(shape)


def _link() -> QTextCharFormat:
    shape = _coloured("accent")
    shape.setFontUnderline(True)
    return shape


def _mono(block_code: bool) -> QTextCharFormat:
    shape = QTextCharFormat()
    shape.setFontFamilies([mono_font().family()])
    shape.setProperty(QTextFormat.Property.FontPixelSize.value, BASE)
    if not block_code:
        shape.setBackground(theme().colour("track"))
    return shape


def _dress_table(table: QTextTable) -> None:
    shape = QTextTableFormat(table.format().toTableFormat())
    shape.setBorder(1)
    shape.setBorderCollapse(True)
    shape.setBorderBrush(QBrush(theme().colour("line2")))
    shape.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
    shape.setCellPadding(6)
    shape.setCellSpacing(0)
    shape.setTopMargin(PARAGRAPH_GAP if table.firstPosition() > 1 else 0)
    shape.setBottomMargin(PARAGRAPH_GAP)
    shape.setWidth(QTextLength())
    table.setFormat(shape)
    bold = QTextCharFormat()
    bold.setFontWeight(QFont.Weight.DemiBold)
    for place in range(table.columns()):
        cell = table.cellAt(0, place)
        look = QTextCharFormat(cell.format())
        look.setBackground(theme().colour("panel"))
        cell.setFormat(look)
        cursor = cell.firstCursorPosition()
        cursor.setPosition(cell.lastCursorPosition().position(), QTextCursor.MoveMode.KeepAnchor)
        cursor.mergeCharFormat(bold)
