"""From a model to an answer: which toolchains are here, a tiny engine built by the real steps, and a server."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import httpx

from workbench.core.errors import Failure
from workbench.core.host import read_host
from workbench.core.messages import Drafted, Usage
from workbench.core.preset import apply_overrides, find_preset
from workbench.core.serving import ServeLimits
from workbench.jobs import client as jobs
from workbench.selftest.checks import BrokenError, NotRunError, last_lines
from workbench.selftest.of_state import broken_job
from workbench.selftest.room import Room
from workbench.selftest.tiny_model import write_tiny_model
from workbench.serve import client as servers
from workbench.serve.backend import Asked, Piece
from workbench.serve.door import FrontDoor
from workbench.serve.ports import bind
from workbench.store.store import Store
from workbench.toolchains import get, names
from workbench.toolchains.base import Environment
from workbench.toolchains.doctor import gpu_report
from workbench.toolchains.drafts import open_draft
from workbench.toolchains.environments import find_environments
from workbench.toolchains.planner import Digests

PRESET = "demo"
_OVERRIDES = ("runtime.kv_cache_gib=0.1", "limits.max_batch_size=2")
_ASK = {"messages": [{"role": "user", "content": "Say something."}], "max_tokens": 8, "temperature": 0.0}
_MODEL = "self-test"


def toolchains(room: Room) -> str:
    """Which toolchains can be used here; that none can is no fault of an installation, and is not called ok."""
    usable, lacking = [], []
    for name in names():
        toolchain = get(name)
        found = [each for each in find_environments(toolchain, room.home, os.environ) if each.usable]
        if found:
            usable.append(f"{toolchain.title} ({found[0].origin})")
        else:
            lacking.append(toolchain.title)
    gpus = gpu_report()
    cards = ", ".join(str(gpu["name"]) for gpu in gpus["found"]) or "no NVIDIA GPU"
    if not usable:
        raise NotRunError(f"none is installed, so nothing can be built yet (`workbench toolchain install`); {cards}")
    return "; ".join([", ".join(usable), *([f"not here: {', '.join(lacking)}"] if lacking else []), cards])


def _openvino(room: Room) -> Environment:
    found = find_environments(get("openvino"), room.home, os.environ)
    usable = next((each for each in found if each.usable), None)
    if usable is not None:
        return usable
    meant = next((each for each in found if each.named or each.made), None)
    raise NotRunError(f"no OpenVINO environment ({meant.lacks})" if meant else "no OpenVINO environment")


def engine(room: Room) -> str:
    """A tiny model is converted, quantized, built and verified as a job, with the preset of the demo."""
    _openvino(room)
    model = write_tiny_model(room.root / "tiny-llama")
    preset = apply_overrides(find_preset(PRESET), list(_OVERRIDES))
    draft = open_draft(preset, model, home=room.home, host=read_host(), environ=os.environ)
    with Store.open(room.home) as store:
        digest = draft.digest(Digests(store.known_digest, store.remember_digest))
    plan = draft.plan((), digest)
    began = time.monotonic()
    folder = jobs.start(room.home, plan)
    state = jobs.wait(folder)  # the check's own time ends it
    if state.status != "done":
        raise broken_job("The tiny engine was not built.", folder)
    room.engine = Path(state.artifacts[-1])
    steps = ", ".join(step.id for step in state.steps if step.status in ("done", "reused"))
    return f"{steps}: done in {time.monotonic() - began:.0f} s with {draft.toolchain.title}"


def server(room: Room) -> str:
    """A server answers one request on loopback: with the tiny engine behind it, else with an echo."""
    _needs_loopback()
    if room.engine is None:
        asyncio.run(_serve_echo())
        return "one request answered on loopback by an echo, since no engine was built"
    request = servers.ServeRequest(engine=room.engine, model=_MODEL, port=0)
    folder = servers.start(room.home, servers.prepare(room.home, request, has_key=False))
    try:
        state = servers.wait_ready(folder, 3600.0)
        if state.status != "ready":
            words = "\n".join(state.failure.lines()) if state.failure else f"it is {state.status}"
            log = folder.log_path.read_text("utf-8", "replace") if folder.log_path.is_file() else ""
            raise BrokenError("The server did not get ready.", evidence=f"{words}\n{last_lines(log)}".strip())
        answer = _ask(state.url)
    finally:
        servers.stop(folder, now=True)
    servers.wait_ended(folder, 60.0)
    return f"one request answered on loopback by the tiny engine ({answer['usage']['completion_tokens']} tokens)"


def _needs_loopback() -> None:
    """Raises NotRunError where 127.0.0.1 is down, as in a network namespace that nobody set up."""
    with socket.socket() as listener, socket.socket() as caller:
        caller.settimeout(5.0)
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            caller.connect(listener.getsockname())
        except OSError as error:
            raise NotRunError(f"the loopback network of this machine is down ({error})") from error


def _ask(url: str) -> dict[str, Any]:
    """One chat. Raises BrokenError when the answer is none."""
    # No proxy: it is this machine.
    with httpx.Client(trust_env=False, timeout=60.0) as client:
        said = client.post(f"{url}/chat/completions", json={"model": _MODEL, **_ASK})
    return _checked(said)


def _checked(said: httpx.Response) -> dict[str, Any]:
    data: dict[str, Any] = {}
    try:
        data = said.json()
        tokens = int(data["usage"]["completion_tokens"])
        text = data["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        tokens, text = 0, None
    if said.status_code != 200 or tokens < 1 or not isinstance(text, str):
        raise BrokenError(
            "The server's answer is no answer.",
            evidence=f"HTTP {said.status_code}: {said.text[:300]}",
            fix="Report it.",
        )
    return data


class _EchoAnswer:
    """Says the last message again, in one piece."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def next(self) -> Sequence[Piece]:
        return (
            Piece(
                text=self._text, tokens=1, at_s=time.monotonic(), finish="stop",
                usage=Usage(input_tokens=1, output_tokens=1),
            ),
        )  # fmt: skip

    def abort(self) -> None:
        return


class _Echo:
    """Stands where an engine would, so that the server in front of it can be tried without one."""

    program = "echo"
    max_seq_len: int | None = 64
    takes: Collection[str] | None = None
    longest_answer: int | None = None
    failure: Failure | None = None

    def when_failed(self, callback: Callable[[Failure], None]) -> None:
        return

    def kv_share(self) -> float | None:
        return None

    def drafted(self) -> Drafted | None:
        return None

    def generated_tokens(self) -> int | None:
        return None

    def start(self, asked: Asked) -> _EchoAnswer:
        return _EchoAnswer(str(asked.messages[-1].content) if asked.messages else "")


async def _serve_echo() -> str:
    """Open the real front door on a free port, ask it over TCP, close it; the answer."""
    door = FrontDoor(model=_MODEL, host="127.0.0.1", limits=ServeLimits())
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    await door.open(listener)
    door.attach(_Echo())
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=20.0) as client:
            said = await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={"model": _MODEL, **_ASK})
    finally:
        await door.drain(now=True)
    text = str(_checked(said)["choices"][0]["message"]["content"])
    if text != _ASK["messages"][-1]["content"]:  # type: ignore[index]
        raise BrokenError("The server's answer is not what was behind it.", evidence=repr(text))
    return text
