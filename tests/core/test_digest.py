"""The model digest: what changes it, what does not, and that nothing is hashed twice."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.fakes.models import make_tiny_folder
from workbench.core.digest import (
    FileStamp,
    decides_output,
    deciding_files,
    file_sha256,
    file_stamp,
    model_digest,
)
from workbench.core.errors import BadInputError
from workbench.core.model import read_model


class Cache:
    """What the store does with digests."""

    def __init__(self) -> None:
        self.kept: dict[FileStamp, str] = {}
        self.hits = 0

    def known(self, stamp: FileStamp) -> str | None:
        self.hits += stamp in self.kept
        return self.kept.get(stamp)

    def remember(self, stamp: FileStamp, sha256: str) -> None:
        assert stamp not in self.kept, "hashed twice"
        self.kept[stamp] = sha256


def digest(folder: Path, cache: Cache | None = None) -> str:
    cache = cache or Cache()
    return model_digest(folder, cache.known, cache.remember)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_folder(tmp_path / "m")


def test_digest_is_sha256_over_sorted_names_and_contents(folder: Path) -> None:
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    assert digest(folder) == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert model_digest(read_model(folder), lambda stamp: None, lambda stamp, value: None) == digest(folder)


def test_second_time_comes_from_the_cache(folder: Path) -> None:
    cache = Cache()
    first = digest(folder, cache)
    assert (len(cache.kept), cache.hits) == (4, 0)
    assert digest(folder, cache) == first
    assert (len(cache.kept), cache.hits) == (4, 4)


def test_a_changed_file_is_hashed_again_even_with_the_same_size_and_time(folder: Path) -> None:
    cache = Cache()
    first = digest(folder, cache)
    file = folder / "model.safetensors"
    info = file.stat()
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x01")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert digest(folder, cache) != first
    assert len(cache.kept) == 5


def test_what_decides_outputs_and_what_does_not(folder: Path) -> None:
    first = digest(folder)
    for name in ("README.md", "pytorch_model.bin", "training_args.bin", ".gitattributes", "model.onnx"):
        (folder / name).write_text("x")
        assert digest(folder) == first, name
    seen = {first}
    for name in (
        "generation_config.json",
        "chat_template.jinja",
        "tokenizer.model",
        "modeling_x.py",
        "merges.txt",
    ):
        (folder / name).write_text("x")
        assert digest(folder) not in seen, name
        seen.add(digest(folder))


def test_renaming_a_file_changes_the_digest(folder: Path) -> None:
    first = digest(folder)
    (folder / "tokenizer_config.json").rename(folder / "special_tokens_map.json")
    assert digest(folder) != first


def test_chat_templates_in_their_folder_count(folder: Path) -> None:
    first = digest(folder)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("x")
    assert digest(folder) != first


def test_the_same_weights_in_another_layout_are_left_out(folder: Path) -> None:
    (folder / "consolidated.safetensors").write_bytes(b"x")
    assert "consolidated.safetensors" not in deciding_files(folder)
    (folder / "model.safetensors").unlink()
    assert "consolidated.safetensors" in deciding_files(folder)
    assert not decides_output("notes.txt")


def hub_cache(tmp_path: Path, blob: str, content: bytes) -> Path:
    root = tmp_path / "models--org--name"
    snapshot = root / "snapshots" / ("c" * 40)
    (root / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (root / "blobs" / blob).write_bytes(content)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{blob}")
    return snapshot


def test_sha256_in_the_name_of_a_cache_blob_is_taken(tmp_path: Path) -> None:
    content = b"weights"
    name = hashlib.sha256(content).hexdigest()
    cache = Cache()
    value = digest(hub_cache(tmp_path, name, content), cache)
    assert not cache.kept
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "model.safetensors").write_bytes(content)
    assert digest(plain) == value


@pytest.mark.parametrize("name", ["f" * 40, "F" * 64, "f" * 65, "g" * 64])
def test_other_blob_names_are_hashed(tmp_path: Path, name: str) -> None:
    cache = Cache()
    digest(hub_cache(tmp_path, name, b"weights"), cache)
    assert list(cache.kept.values()) == [hashlib.sha256(b"weights").hexdigest()]


def test_sha256_named_files_outside_the_hub_cache_are_hashed(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / ("f" * 64)).write_bytes(b"weights")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(blobs / ("f" * 64))
    cache = Cache()
    digest(folder, cache)
    assert list(cache.kept.values()) == [hashlib.sha256(b"weights").hexdigest()]


def test_links_to_one_file_have_one_stamp(tmp_path: Path, folder: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder / "config.json")
    assert file_stamp(link) == file_stamp(folder / "config.json")


def test_progress_reaches_the_total_and_never_goes_back(folder: Path) -> None:
    with (folder / "model-extra.safetensors").open("wb") as file:
        file.truncate(9 * 2**20)
    seen: list[tuple[int, int]] = []
    model_digest(folder, lambda stamp: None, lambda stamp, value: None, lambda done, total: seen.append((done, total)))
    total = sum((folder / name).stat().st_size for name in deciding_files(folder))
    done = [entry[0] for entry in seen]
    assert done == sorted(done) and done[-1] == total and {entry[1] for entry in seen} == {total}
    assert len([count for count in done if count < total]) >= 3


def test_file_sha256_in_chunks(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(os.urandom(9 * 2**20 + 7))
    counted: list[int] = []
    assert file_sha256(file, counted.append) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sum(counted) == file.stat().st_size and len(counted) >= 3


def test_file_that_changes_while_it_is_read(folder: Path) -> None:
    def grow(done: int, total: int) -> None:
        with (folder / "config.json").open("a") as file:
            file.write(" ")

    with pytest.raises(BadInputError, match="changed while") as caught:
        model_digest(folder, lambda stamp: None, lambda stamp, value: None, grow)
    assert "config.json" in caught.value.evidence


@pytest.mark.parametrize("make", ["missing", "empty"])
def test_folder_that_cannot_be_digested(tmp_path: Path, make: str) -> None:
    if make == "empty":
        (tmp_path / "m").mkdir()
    with pytest.raises(BadInputError):
        digest(tmp_path / "m")
