"""Exports on the disk: complete with checksums or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.core.deploy.export import Check, CopiedFile, Export, TextFile
from workbench.core.errors import BadInputError, BlockedError, CancelledError, StepFailedError
from workbench.deploy.write import write_export

OK = Check("it is there", True)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    source = tmp_path / "engine" / "rank0.engine"
    source.parent.mkdir()
    source.write_bytes(os.urandom(2**20) * 9)
    texts = (TextFile("run.sh", "#!/bin/sh\necho ran\n", executable=True), TextFile("notes/über.md", "größer\n"))
    return Export(
        "launch", "e-launch", texts, (CopiedFile("engine/rank0.engine", source, source.stat().st_size),), (OK,)
    )


@pytest.mark.parametrize("link", [False, True])
def test_all_files_with_their_sums(export: Export, tmp_path: Path, link: bool) -> None:
    told: list[tuple[int, int]] = []
    out = write_export(export, tmp_path / "new" / "out", link=link, on_progress=lambda *step: told.append(step))
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == ["SHA256SUMS", "engine/rank0.engine", "notes/über.md", "run.sh"]
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=out, check=True)
    assert subprocess.run([out / "run.sh"], capture_output=True, check=True).stdout == b"ran\n"
    assert not stat.S_IMODE((out / "notes/über.md").stat().st_mode) & 0o111
    assert out.joinpath("engine/rank0.engine").samefile(export.copies[0].source) is link
    small = tmp_path / "engine" / "config.json"
    small.write_text("{}")
    again = write_export(replace(export, copies=(CopiedFile("config.json", small, 2),)), tmp_path / "small", link=link)
    assert not again.joinpath("config.json").samefile(small), "what is edited by hand is a file of its own"
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    total = 9 * 2**20 + len("#!/bin/sh\necho ran\ngrößer\n".encode())
    assert told[-1] == (total, total) and len(told) >= 4
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("there", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(export: Export, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "folder":
        out.mkdir()
    elif there == "file":
        out.write_text("mine")
    else:
        out.symlink_to("nowhere")
    with pytest.raises(BadInputError, match="already") as error:
        write_export(export, out)
    assert error.value.failure.code == "folder-exists"
    assert not out.with_name("out.partial").exists()


def test_somebody_elses_partial_folder_stays(export: Export, tmp_path: Path) -> None:
    other = tmp_path / "out.partial" / "thesis.txt"
    other.parent.mkdir()
    other.write_text("years of work")
    with pytest.raises(BadInputError, match="in the way"):
        write_export(export, tmp_path / "out")
    assert other.read_text() == "years of work" and len(list(other.parent.iterdir())) == 1


def test_what_an_interrupted_export_left_is_taken_over(export: Export, tmp_path: Path) -> None:
    left = tmp_path / "out.partial"
    left.mkdir()
    (left / ".engine-workbench-export").touch()
    (left / "engine").mkdir()
    (left / "engine" / "rank0.engine").write_bytes(b"half")
    out = write_export(export, tmp_path / "out")
    assert (out / "engine" / "rank0.engine").stat().st_size == 9 * 2**20 and not left.exists()


def test_all_failed_checks_are_said_and_others_do_not_block(export: Export, tmp_path: Path) -> None:
    checks = (
        OK,
        Check("all ranks are there", False, "1 of 2", "Copy them."),
        Check("the tokenizer is there", False, "none", "Name one."),
        Check("tensor parallel GPUs share a node", False, "tp 4", "Build anew.", blocks=False),
    )
    with pytest.raises(BlockedError, match="2 checks failed") as error:
        write_export(replace(export, checks=checks), tmp_path / "out")
    assert (
        "1 of 2" in error.value.evidence and "tokenizer" in error.value.evidence and "tp 4" not in error.value.evidence
    )
    assert error.value.fix == "Copy them. Name one."
    write_export(replace(export, checks=checks[-1:]), tmp_path / "out")


def test_cancelled_in_the_middle_leaves_nothing(export: Export, tmp_path: Path) -> None:
    stop = threading.Event()

    def on_progress(done: int, total: int) -> None:
        if done > 8 * 2**20:
            stop.set()

    with pytest.raises(CancelledError):
        write_export(export, tmp_path / "out", on_progress=on_progress, stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_a_source_that_grows_meanwhile_is_no_export(export: Export, tmp_path: Path) -> None:
    source = export.copies[0].source
    with source.open("ab") as file:
        file.write(b"more")
    with pytest.raises(StepFailedError, match="changed while"):
        write_export(export, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_full_disk_is_said_in_words(export: Export, tmp_path: Path) -> None:
    # /dev/full is the kernel's own full disk: what is written to it fails as on one.
    class Full(type(tmp_path)):  # type: ignore[misc]
        def open(self, mode: str = "r", *args: object, **kwargs: object) -> object:
            name = "/dev/full" if self.name == "rank0.engine" and mode == "xb" else str(self)
            return open(name, "wb" if mode == "xb" else mode, *args, **kwargs)  # type: ignore[call-overload]

    with pytest.raises(StepFailedError) as error:
        write_export(export, Full(tmp_path / "out"))
    assert error.value.failure.code == "disk-full" and os.strerror(errno.ENOSPC) in error.value.evidence
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_no_room_is_said_before_anything_is_written(export: Export, tmp_path: Path) -> None:
    with pytest.raises(BlockedError, match="no room") as error:
        write_export(replace(export, copies=(replace(export.copies[0], bytes=2**60),)), tmp_path / "out")
    assert "free at" in error.value.evidence and not (tmp_path / "out.partial").exists()


def test_inside_the_engine_it_would_spoil_it(export: Export) -> None:
    with pytest.raises(BadInputError, match="inside"):
        write_export(export, export.copies[0].source.parent / "exports" / "out")


@pytest.mark.parametrize("path", ["../out.txt", "/etc/out.txt", "a\\b", "a\nb", "SHA256SUMS", "run.sh", ""])
def test_names_that_would_leave_the_folder_or_the_list(export: Export, tmp_path: Path, path: str) -> None:
    with pytest.raises(BadInputError, match="cannot be written"):
        write_export(replace(export, texts=(*export.texts, TextFile(path, "x"))), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_a_folder_that_may_not_be_written(export: Export, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInputError) as error:
        write_export(export, tmp_path / "file" / "out")
    assert error.value.failure.code == "cannot-write"


def test_a_read_only_disk_is_said_before_its_room(export: Export) -> None:
    """/proc takes no folders, whoever asks, and has no free room either."""
    with pytest.raises(BadInputError) as error:
        write_export(export, Path("/proc/self/out"))
    assert error.value.failure.code == "cannot-write" and "free" not in error.value.evidence


def test_sums_are_those_of_the_files(export: Export, tmp_path: Path) -> None:
    out = write_export(export, tmp_path / "out")
    lines = (out / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["engine/rank0.engine", "notes/über.md", "run.sh"]
    assert lines[0].split()[0] == hashlib.sha256(export.copies[0].source.read_bytes()).hexdigest()
