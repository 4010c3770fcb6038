"""Pictures of the window as small PNG files: as many colours as a palette holds, which screens rarely need more of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PySide6.QtGui import QImage

COLOURS = 256
_ROUNDS = 12


def save_small(image: QImage, path: Path, colours: int = COLOURS) -> None:
    """Write `image` as a PNG file with a palette of at most `colours` colours. Raises OSError when it cannot be."""
    plain = image.convertToFormat(QImage.Format.Format_RGB32)
    width, height = plain.width(), plain.height()
    whole = np.frombuffer(plain.constBits(), np.uint32).reshape(height, plain.bytesPerLine() // 4)[:, :width]
    shades, place, counts = np.unique(whole & 0xFFFFFF, return_inverse=True, return_counts=True)
    own = np.stack([(shades >> shift) & 0xFF for shift in (16, 8, 0)], axis=1).astype(np.float32)
    table, nearest = _palette(own, counts, colours)
    indexes = nearest[place.reshape(height, width)].astype(np.uint8)
    across = (width + 3) // 4 * 4
    padded = np.zeros((height, across), np.uint8)
    padded[:, :width] = indexes
    small = QImage(padded.tobytes(), width, height, across, QImage.Format.Format_Indexed8).copy()
    small.setColorTable([0xFF000000 | int(r) << 16 | int(g) << 8 | int(b) for r, g, b in table])
    if not small.save(str(path), "PNG", 0):  # 0: the smallest file
        raise OSError(f"{path} could not be written")


def _palette(own: np.ndarray, counts: np.ndarray, colours: int) -> tuple[np.ndarray, np.ndarray]:
    """A palette (rows of red, green, blue), and for each colour of `own` the number of the nearest in it."""
    if len(own) <= colours:
        return own, np.arange(len(own))
    weight = np.sqrt(counts)[:, None]  # large plain areas must not take the palette from thin lines
    centres = own[np.argsort(counts)[::-1][:colours]].copy()
    far = ((own[:, None] - centres[None, : colours // 2]) ** 2).sum(2).min(1)
    centres[colours // 2 :] = own[np.argsort(far)[::-1][: colours - colours // 2]]  # and rare colours keep a place
    nearest = np.zeros(len(own), int)
    for _ in range(_ROUNDS):
        parts = np.array_split(own, len(own) // 512 + 1)
        nearest = np.concatenate([((part[:, None] - centres[None]) ** 2).sum(2).argmin(1) for part in parts])
        for number in range(colours):
            chosen = nearest == number
            if chosen.any():
                centres[number] = (own[chosen] * weight[chosen]).sum(0) / weight[chosen].sum()
    return np.rint(centres), nearest
