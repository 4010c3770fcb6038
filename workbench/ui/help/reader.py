"""A page of the user guide as it is read: our faces and colours, its pictures as wide as there is room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import (
    QImage,
    QPixmap,
    QResizeEvent,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextOption,
)
from PySide6.QtWidgets import QFrame, QTextBrowser, QWidget

from workbench.core.guide import GuidePage
from workbench.ui.pages.playground.talk.dress import dress
from workbench.ui.theme import BASE, text_font, theme

_FEATURES = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
_MARGIN, _ABOVE_HEADING, _LEAST_WIDTH, _CODE_LINE = 24, 18, 160, 18
_CODE_FENCE = QTextFormat.Property.BlockCodeFence.value


class GuideDocument(QTextDocument):
    """A document whose pictures were read before; it asks nobody for anything."""

    def __init__(self, pictures: Mapping[str, QImage], parent: QWidget) -> None:
        super().__init__(parent)
        self._pictures = pictures
        self.setUndoRedoEnabled(False)
        self.setDocumentMargin(_MARGIN)
        self.setDefaultFont(text_font(BASE))
        self.setIndentWidth(24)

    def loadResource(self, kind: int, name: QUrl | str) -> Any:
        key = name.toString() if isinstance(name, QUrl) else name
        picture = self._pictures.get(key)
        return QPixmap.fromImage(picture) if picture is not None else None


class Reader(QTextBrowser):
    """Shows a page; `followed` carries a link that was clicked, as it stands in the page."""

    followed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._anchor = ""
        self._wide = 0
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setOpenLinks(False)
        self.setAccessibleName("Page of the user guide")
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setTabChangesFocus(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # all wraps, code too
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)  # else pictures change the width
        self.anchorClicked.connect(lambda url: self.followed.emit(url.toString()))

    def show_page(self, page: GuidePage, pictures: Mapping[str, QImage], anchor: str = "") -> None:
        """The page from `anchor` on, from its beginning without one. `pictures` by the address that the page uses."""
        made = GuideDocument(pictures, self)
        made.setMarkdown(page.source, _FEATURES)
        dress(made, pictures=True)
        _finish(made, [section.anchor for section in page.sections])
        before = self.document()
        self.setDocument(made)
        if isinstance(before, GuideDocument):
            before.deleteLater()
        self._wide = 0
        self._fit_pictures()
        self.go_to(anchor)

    def go_to(self, anchor: str) -> None:
        """Scroll to a heading; to the beginning without one."""
        self._anchor = anchor
        if anchor:
            self.scrollToAnchor(anchor)
        else:
            self.verticalScrollBar().setValue(0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_pictures()

    def _fit_pictures(self) -> None:
        """No picture is wider than the text, nor than it is."""
        wide = max(self.viewport().width() - 2 * _MARGIN - 2, _LEAST_WIDTH)
        if wide == self._wide:
            return
        self._wide = wide
        document = self.document()
        for position, length, address in _pictures_in(document):
            picture = document.resource(QTextDocument.ResourceType.ImageResource.value, QUrl(address))
            if isinstance(picture, QPixmap) and not picture.isNull():
                cursor = QTextCursor(document)
                cursor.setPosition(position)
                cursor.setPosition(position + length, QTextCursor.MoveMode.KeepAnchor)
                shape = cursor.charFormat().toImageFormat()
                shape.setName(address)
                shown = min(wide, picture.width())
                shape.setWidth(shown)
                shape.setHeight(picture.height() * shown / picture.width())
                cursor.setCharFormat(shape)
        if self._anchor:
            self.scrollToAnchor(self._anchor)


def _blocks(document: QTextDocument) -> list[QTextBlock]:
    found, block = [], document.begin()
    while block.isValid():
        found.append(block)
        block = block.next()
    return found


def _pictures_in(document: QTextDocument) -> list[tuple[int, int, str]]:
    found = []
    for block in _blocks(document):
        at = block.begin()
        while not at.atEnd():
            fragment = at.fragment()
            if fragment.charFormat().isImageFormat():
                found.append((fragment.position(), fragment.length(), fragment.charFormat().toImageFormat().name()))
            at += 1  # type: ignore[operator]
    return found


def _finish(document: QTextDocument, anchors: list[str]) -> None:
    """Headings get air above them and their anchors, in the order of the page's sections; code wraps on its ground."""
    for block in _blocks(document):
        if block.blockFormat().nonBreakableLines() or block.blockFormat().hasProperty(_CODE_FENCE):
            ground = QTextBlockFormat()
            ground.setNonBreakableLines(False)
            ground.setBackground(theme().colour("raised"))
            ground.setLineHeight(_CODE_LINE, QTextBlockFormat.LineHeightTypes.FixedHeight.value)
            QTextCursor(block).mergeBlockFormat(ground)
    headings = [block for block in _blocks(document) if 1 <= block.blockFormat().headingLevel() <= 4]
    for number, block in enumerate(headings):
        cursor = QTextCursor(block)
        shape = QTextBlockFormat()
        if number:
            shape.setTopMargin(_ABOVE_HEADING)
        cursor.mergeBlockFormat(shape)
        if number < len(anchors) and anchors[number] and block.length() > 1:
            cursor.movePosition(QTextCursor.MoveOperation.Right, QTextCursor.MoveMode.KeepAnchor)
            named = QTextCharFormat()
            named.setAnchor(True)
            named.setAnchorNames([anchors[number]])
            cursor.mergeCharFormat(named)
