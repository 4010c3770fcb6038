"""Whether a file or folder may say what runs here: not when somebody else could have written it."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def distrust(path: Path) -> str:
    """Why what stands there is not run or made use of as this user: the end of a sentence; "" when it may be, and for
    what is not there. Links are followed.

    It may be when it belongs to this user or to root, and not everybody may write to it. In a folder with the sticky
    bit everybody may, and nobody can change what others put there.
    """
    try:
        seen = path.stat()
    except OSError:
        return ""
    if seen.st_uid not in (0, os.getuid()):
        return f"{path} belongs to another user (number {seen.st_uid})"
    if seen.st_mode & stat.S_IWOTH and not (stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX):
        return f"everybody may write to {path}"
    return ""
