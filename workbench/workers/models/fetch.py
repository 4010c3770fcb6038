"""Downloads a model from the Hugging Face Hub into its ordinary cache: config, tokenizer and safetensors only.

Large files go to a partial file with a stable name, so that a retry goes on where the last try stopped, also after
a kill; huggingface_hub's own download starts such a file anew.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from workbench.core.digest import decides_output, file_sha256
from workbench.core.messages import StepSpec
from workbench.workers.protocol import Channel, WorkerError, run_worker

_HTTP_LIMIT_BYTES = 50_000_000_000
"""The Hub gives larger files through its own protocol only."""
_PICKLE = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_ACCESS = (
    "Accept the model's conditions on its page, then log in with `hf auth login` or set HF_TOKEN to a token"
    " that may read it."
)


def fetch(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Settings: repo_id, revision (default main), endpoint, trust_remote_code. Result: path, revision, bytes."""
    repo_id = spec.settings.get("repo_id")
    revision = spec.settings.get("revision") or "main"
    if not isinstance(repo_id, str) or not repo_id or not isinstance(revision, str):
        raise WorkerError("no model name to download was given", code="bad-settings", cause=f"repo_id is {repo_id!r}")
    endpoint = spec.settings.get("endpoint") or None
    own_code = spec.settings.get("trust_remote_code") is True
    if offline_variable():
        return _from_cache(repo_id, revision)

    from huggingface_hub.utils import HFValidationError, disable_progress_bars, validate_repo_id

    disable_progress_bars()
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise WorkerError(
            f"{repo_id!r} is not a model name of the Hub",
            code="bad-settings",
            cause=str(error).splitlines()[0],
            hint="Names look like HuggingFaceTB/SmolLM2-135M-Instruct.",
        ) from None
    channel.phase("list files", 1, 2)
    with explained(repo_id, revision, endpoint):
        commit, files, unknown = _list_files(repo_id, revision, endpoint, own_code)
    total = sum(files.values())
    channel.log(f"{repo_id} at {commit}: {len(files)} files, {total:,} bytes")
    channel.phase("download", 2, 2)
    progress = _Progress(channel, total)
    path = ""
    for name, size in files.items():
        with explained(repo_id, revision, endpoint):
            pointer = _download(repo_id, commit, revision, name, size, endpoint, progress)
        path = str(Path(pointer).parents[name.count("/")])
    channel.progress(total, total, "bytes")
    if unknown:
        channel.log(f"left out: {', '.join(unknown[:20])}")
    return {"path": path, "revision": commit, "bytes": total, "files": len(files)}


def _list_files(
    repo_id: str, revision: str, endpoint: str | None, own_code: bool
) -> tuple[str, dict[str, int], list[str]]:
    """Commit, wanted files with their sizes (small ones first), and names that were left out."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=endpoint).model_info(repo_id, revision=revision, files_metadata=True)
    sizes = {entry.rfilename: int(entry.size or 0) for entry in info.siblings or []}
    names = frozenset(sizes)
    wanted = {
        name: size
        for name, size in sizes.items()
        if ("/" not in name or name.startswith("additional_chat_templates/"))
        and (decides_output(name, names) or name.startswith("additional_chat_templates/"))
        and not name.endswith(_PICKLE)
        and (own_code or not name.endswith(".py"))
    }
    if "config.json" not in wanted:
        raise WorkerError(
            f"{repo_id} has no config.json, so it is no Hugging Face model",
            code="bad-model",
            cause=f"{len(sizes)} files: {', '.join(sorted(sizes)[:6])}",
            hint=_other_format(sizes),
        )
    if not any(name.endswith(".safetensors") for name in wanted):
        pickles = sorted(name for name in sizes if name.endswith(_PICKLE))
        raise WorkerError(
            f"{repo_id} has no safetensors weights"
            + (", only pickle files, and loading those runs whatever code is in them" if pickles else ""),
            code="bad-model",
            cause=", ".join((pickles or sorted(sizes))[:6]),
            hint="Look for a revision with safetensors (the Hub often has one under refs/pr), or convert the model"
            " where you trust it." if pickles else _other_format(sizes),
        )  # fmt: skip
    ordered = dict(sorted(wanted.items(), key=lambda item: (item[1], item[0])))
    return str(info.sha), ordered, sorted(set(sizes) - set(wanted))


def _other_format(sizes: dict[str, int]) -> str:
    if any(name.lower().endswith(".gguf") for name in sizes):
        return "This is a GGUF repository (llama.cpp's format): use the original model it was made from."
    return "Choose a repository with config.json and *.safetensors."


class _Progress:
    """Bytes of all files together, as they come and as they are found in the cache."""

    def __init__(self, channel: Channel, total: int) -> None:
        self.channel, self.total, self.done = channel, total, 0

    def add(self, count: int) -> None:
        self.done = max(0, self.done + count)
        # The end is said once, by the caller, when the last file is checked and in its place.
        if self.done < self.total:
            self.channel.progress(self.done, self.total, "bytes")


class _CountingFile:
    """The partial file as huggingface_hub writes to it; counts bytes on their way."""

    def __init__(self, file: Any, progress: _Progress) -> None:
        self._file, self._progress = file, progress

    def write(self, data: bytes) -> int:
        count = int(self._file.write(data))
        self._progress.add(count)
        return count

    def truncate(self) -> int:
        # The server has sent the file from its start again.
        self._progress.add(-(os.fstat(self._file.fileno()).st_size - self._file.tell()))
        return int(self._file.truncate())

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.flush()
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def flush(self) -> None:
        self._file.flush()


def _download(
    repo_id: str, commit: str, revision: str, name: str, size: int, endpoint: str | None, progress: _Progress
) -> str:
    """One file into the cache; its path in the snapshot."""
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import get_hf_file_metadata, http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    cached = try_to_load_from_cache(repo_id, name, revision=commit)
    if isinstance(cached, str) and Path(cached).exists():
        progress.add(size)
        _note_revision(repo_id, revision, commit)
        return cached
    if size > _HTTP_LIMIT_BYTES:
        pointer = hf_hub_download(repo_id, name, revision=commit, endpoint=endpoint)
        progress.add(size)
        return str(pointer)
    url = hf_hub_url(repo_id, name, revision=commit, endpoint=endpoint)
    metadata = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    etag, expected = metadata.etag, metadata.size
    if not etag or expected is None or "/" in etag or etag.startswith("."):
        raise WorkerError(
            f"the server at {_host(endpoint)} does not answer as a Hugging Face Hub does",
            code="network",
            cause=f"no ETag or length for {name}",
            hint="Check HF_ENDPOINT, and whether a proxy stands in between.",
        )
    folder = repo_folder_name(repo_id=repo_id, repo_type="model")
    cache = Path(constants.HF_HUB_CACHE)
    blob = cache / folder / "blobs" / etag
    lock = cache / ".locks" / folder / f"{etag}.lock"
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    headers = build_hf_headers()
    headers["Accept-Encoding"] = "identity"
    if _host(metadata.location) != _host(url):
        headers.pop("authorization", None)  # signed links of a content network must not see the token
    with WeakFileLock(str(lock)):
        if blob.exists():
            progress.add(expected)
        else:
            partial = blob.with_name(f"{etag}.workbench.incomplete")
            begun = partial.stat().st_size if partial.exists() else 0
            if begun > expected:
                partial.unlink()
                begun = 0
            _check_space(partial.parent, expected - begun)
            if begun:
                progress.channel.log(f"{name}: going on at {begun:,} of {expected:,} bytes")
                progress.add(begun)
            with partial.open("r+b" if begun else "wb") as file:
                file.seek(0, os.SEEK_END)
                http_get(
                    metadata.location,
                    _CountingFile(file, progress),  # type: ignore[arg-type]
                    resume_size=begun,
                    headers=headers,
                    expected_size=expected,
                )
                file.flush()
                os.fsync(file.fileno())
            _check_content(partial, etag, name)
            partial.replace(blob)
    # Links the blob into the snapshot, in whichever way this huggingface_hub does.
    pointer = str(hf_hub_download(repo_id, name, revision=commit, endpoint=endpoint))
    _note_revision(repo_id, revision, commit)
    return pointer


def _check_content(partial: Path, etag: str, name: str) -> None:
    """Large files have their sha256 as their ETag: what came in pieces is checked as a whole."""
    if len(etag) != 64 or any(letter not in "0123456789abcdef" for letter in etag):
        return
    found = file_sha256(partial)
    if found != etag:
        partial.unlink()
        raise WorkerError(
            f"{name} arrived damaged and was thrown away",
            code="damaged-download",
            cause=f"sha256 {found}, expected {etag}",
            hint="Retry. If it happens again, something between here and the Hub changes the data.",
        )


def _note_revision(repo_id: str, revision: str, commit: str) -> None:
    """Let the cache know which commit a branch led to, so that the branch's name works offline."""
    if revision == commit:
        return
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root = (Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model") / "refs").resolve()
    ref = root / revision
    if root not in ref.resolve().parents:
        return
    if not ref.exists() or ref.read_text() != commit:
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)


def _check_space(folder: Path, needed: int) -> None:
    import shutil

    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WorkerError(
            "the disk has no room for the download",
            code="disk-full",
            cause=f"{needed:,} bytes needed, {free:,} free at {folder}",
            hint="Free space there, or set HF_HOME to a folder on a larger disk. What came so far is kept.",
        )


def offline_variable() -> str:
    """What forbids the network, a setting or a variable as huggingface_hub reads it; empty when nothing does."""
    if os.environ.get("WORKBENCH_OFFLINE") == "1":
        return "the setting network.offline"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return ""


def _from_cache(repo_id: str, revision: str) -> dict[str, Any]:
    """A complete copy from the cache, or an error that names the variable and what is cached."""
    import json

    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    def problem(what: str, cause: str) -> WorkerError:
        return WorkerError(
            f"{what}, and {offline_variable()} forbids to download it",
            code="offline",
            cause=cause,
            hint=f"Unset {offline_variable()}, or choose a model that is cached.",
        )

    config = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    if not isinstance(config, str):
        cache = Path(constants.HF_HUB_CACHE)
        own = cache / repo_folder_name(repo_id=repo_id, repo_type="model") / "snapshots"
        if own.is_dir() and any(own.iterdir()):
            commits = sorted(entry.name for entry in own.iterdir())
            raise problem(f"revision {revision} of {repo_id} is not in the cache", f"cached: {', '.join(commits[:5])}")
        cached = sorted(entry.name[8:].replace("--", "/") for entry in cache.glob("models--*"))
        words = ", ".join(cached[:8]) + (f" and {len(cached) - 8} more" if len(cached) > 8 else "")
        raise problem(f"{repo_id} is not in the cache", f"cached in {cache}: {words or 'nothing'}")
    folder = Path(config).parent
    weights = [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not weights[0].exists() and index.exists():
        with contextlib.suppress(ValueError, KeyError, AttributeError):
            weights = [folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
    missing = [file.name for file in weights if not file.exists()]
    if missing:
        raise problem(f"the cached copy of {repo_id} is not complete", f"missing: {', '.join(missing[:5])}")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "path": str(folder),
        "revision": folder.name,
        "bytes": size,
        "files": sum(1 for _ in folder.iterdir()),
    }


def _host(url: str | None) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").netloc


@contextlib.contextmanager
def explained(repo_id: str, revision: str, endpoint: str | None) -> Any:
    """Turn what the Hub and the network do into words."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    host = _host(endpoint)
    try:
        yield
    except WorkerError:
        raise
    except GatedRepoError as error:
        raise WorkerError(
            f"{repo_id} is gated: its authors ask for consent before it can be downloaded",
            code="no-access", cause=_status(error), hint=_ACCESS,
        ) from None  # fmt: skip
    except RevisionNotFoundError as error:
        raise WorkerError(
            f"{repo_id} has no revision {revision!r}",
            code="not-found", cause=_status(error), hint="Leave the revision out for the main branch.",
        ) from None  # fmt: skip
    except RepositoryNotFoundError as error:
        raise WorkerError(
            f"there is no model {repo_id} at {host}, or it is private",
            code="not-found", cause=_status(error), hint=f"Check the spelling. If it is private: {_ACCESS}",
        ) from None  # fmt: skip
    except HfHubHTTPError as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        if code in (401, 403):
            raise WorkerError(
                f"{host} refuses access to {repo_id}", code="no-access", cause=_status(error), hint=_ACCESS
            ) from None
        raise WorkerError(
            f"{host} answered with an error", code="network", cause=_status(error),
            hint="Retry in a while; what came so far is kept." if code is None or code >= 500 or code == 429 else "",
        ) from None  # fmt: skip
    except (LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise _no_network(host, error.__cause__ or error) from None
    except Exception as error:
        # httpx or requests, whichever this huggingface_hub uses; neither is a dependency of the worker.
        if type(error).__module__.split(".")[0] in ("httpx", "httpcore", "requests", "urllib3"):
            raise _no_network(host, error) from None
        if isinstance(error, OSError) and "Consistency check failed" in str(error):
            raise WorkerError(
                "the download ended early", code="network", cause=str(error).splitlines()[0],
                hint="Retry: it goes on where it stopped.",
            ) from None  # fmt: skip
        raise


def _no_network(host: str, error: BaseException) -> WorkerError:
    return WorkerError(
        f"{host} cannot be reached, or the connection broke",
        code="network",
        cause=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no details'}",
        hint="Check the network and the proxy variables, then retry: it goes on where it stopped.",
    )


def _status(error: Any) -> str:
    """Status and reason without the request's headers."""
    response = getattr(error, "response", None)
    said = getattr(error, "server_message", None)
    code = getattr(response, "status_code", None)
    return f"HTTP {code}" + (f": {said[:200]}" if isinstance(said, str) and said else "")


if __name__ == "__main__":
    run_worker("models.fetch", fetch, ("huggingface_hub",))
