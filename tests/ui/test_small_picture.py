"""Pictures with a palette: small, and hard to tell from what they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QImage, QLinearGradient, QPainter

from workbench.ui.small_picture import save_small


def drawn(width: int = 301, height: int = 120) -> QImage:
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(QColor("#101418"))
    painter = QPainter(image)
    gradient = QLinearGradient(0, 0, width, 0)
    gradient.setColorAt(0, QColor("#205060"))
    gradient.setColorAt(1, QColor("#e0a060"))
    painter.fillRect(10, 10, width - 20, 40, gradient)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QColor("#ff3040"))
    painter.drawEllipse(20, 60, 200, 50)
    painter.end()
    return image


def levels(image: QImage) -> np.ndarray:
    plain = image.convertToFormat(QImage.Format.Format_RGB32)
    whole = np.frombuffer(plain.constBits(), np.uint8).reshape(plain.height(), plain.width(), 4)
    return whole[:, :, :3].astype(int)


def test_few_colours_are_kept_as_they_are(tmp_path: Path) -> None:
    image = QImage(33, 7, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.darkCyan)
    image.setPixelColor(32, 6, QColor("#fedcba"))
    save_small(image, tmp_path / "few.png")
    back = QImage(str(tmp_path / "few.png"))
    assert (levels(back) == levels(image)).all() and back.format() == QImage.Format.Format_Indexed8


def test_many_colours_become_a_palette_and_stay_near(tmp_path: Path) -> None:
    image = drawn()
    save_small(image, tmp_path / "many.png", colours=64)
    back = QImage(str(tmp_path / "many.png"))
    assert 1 < len(back.colorTable()) <= 64 and back.size() == image.size()
    away = np.abs(levels(back) - levels(image))
    assert away.mean() < 2 and away.max() < 60


def test_a_place_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no\.png"):
        save_small(drawn(), tmp_path / "nowhere" / "no.png")
