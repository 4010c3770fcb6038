"""python build_share.py --tree DIR: what a desktop shows of the program, below DIR/share.

Desktop entry, AppStream metadata, MIME type, icons, manual pages, shell completion and the user guide. Pages and
completion come from the tree's own Python, so they are those of the program that is in it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

PACKAGING = Path(__file__).resolve().parent
sys.path.insert(0, str(PACKAGING))

from build_tree.words import Refused, called, stop  # noqa: E402

NAME = "org.engineworkbench.EngineWorkbench"
GUIDE = Path("runtime/lib/python3.12/site-packages/workbench/_data/resources/docs")
FILES = {
    f"{NAME}.desktop": "applications",
    f"{NAME}.metainfo.xml": "metainfo",
    f"{NAME}.mime.xml": "mime/packages",
}


def main() -> int:
    words = argparse.ArgumentParser(prog="packaging/build_share.py", description=__doc__)
    words.add_argument("--tree", type=Path, required=True, help="the tree that is installed")
    try:
        build(words.parse_args().tree.resolve())
    except Refused as error:
        return stop(error)
    return 0


def build(tree: Path) -> None:
    share = tree / "share"
    version = (tree / "VERSION").read_text(encoding="utf-8").split()[0]
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))
    for name, place in FILES.items():
        text = (PACKAGING / "desktop" / name).read_text(encoding="utf-8")
        target = share / place / (f"{NAME}.xml" if name.endswith(".mime.xml") else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("@VERSION@", version).replace("@DATE@", date), encoding="utf-8")
    python = [tree / "runtime" / "bin" / "python3.12", "-P", "-B"]
    quiet = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        "QT_QPA_PLATFORM": "offscreen",
        "COLUMNS": "100",
        "SOURCE_DATE_EPOCH": os.environ["SOURCE_DATE_EPOCH"],
    }
    called([*python, PACKAGING / "build_tree" / "pages.py", share], environ=quiet)
    called([*python, PACKAGING / "build_tree" / "icons.py", PACKAGING / "desktop" / f"{NAME}.svg", share / "icons"],
           environ=quiet)  # fmt: skip
    if (tree / GUIDE).is_dir():  # older sources have no guide
        guide = share / "doc" / "engine-workbench" / "guide"
        guide.symlink_to(Path("../../..") / GUIDE)


if __name__ == "__main__":
    sys.exit(main())
