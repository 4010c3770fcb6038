"""How the end of trtllm-serve is told; the worker as a whole is run in tests/serve/test_trtllm.py."""

from __future__ import annotations

from typing import Any, cast

import pytest

from workbench.workers.protocol import Channel
from workbench.workers.trtllm.serve import _Server


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("kill -9 $$", "host-out-of-memory", "trtllm-serve was killed"),
        ("echo 'Error: No such option: --x'; exit 2", "bad-flags", "does not take these flags"),
        ("echo broken; exit 1", "server-ended", "ended by itself"),
    ],
)
def test_how_it_ended_is_said_in_the_words_of_a_server(script: str, code: str, words: str) -> None:
    argv = ["sh", "-c", script, "--host", "127.0.0.1", "--port", "1"]
    server = _Server(cast(Channel, cast(Any, None)), argv, 60.0)
    error = server.explained()
    assert error.code == code and words in error.message
    assert error.hint and "build" not in (error.hint + error.message + error.cause).replace("trtllm-build", "")
    server.stop()
