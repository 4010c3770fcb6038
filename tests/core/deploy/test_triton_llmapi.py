"""The Python form of a Triton export, with the stand-in's LLM class for engines behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fakes import trtllm
from tests.fakes.triton.backend_utils import InferenceResponse
from tests.fakes.triton.repository import Repository
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.triton.export import triton_export
from workbench.core.deploy.triton.options import TritonOptions
from workbench.deploy.write import write_export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    top = tmp_path_factory.mktemp("llmapi")
    facts = read_engine_facts(make_trtllm_engine(top / "engine"))
    out = write_export(triton_export(facts, TritonOptions(form="llmapi")), top / "out")
    settings = out / "model_repository" / "tensorrt_llm" / "1" / "model.yaml"
    settings.write_text(settings.read_text().replace("/triton/", f"{out}/"))
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(trtllm.SITE))
        made = Repository(out / "model_repository", out, {})
        yield made
        made.close()
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "tensorrt_llm":
            del sys.modules[name]


def ask(repository: Repository, seen: list[InferenceResponse], **more: Any) -> None:
    kinds = {"streaming": np.bool_, "return_finish_reason": np.bool_, "sampling_param_stop": object}
    inputs = {"text_input": np.array([b"Hello"], dtype=object)}
    for name, value in more.items():
        inputs[name] = np.array([value], dtype=kinds.get(name, np.int32))
    repository.run("tensorrt_llm", inputs, seen.append, cancelled=lambda: len(seen) >= more.get("_stop", 1000))


def outputs(response: InferenceResponse) -> dict[str, Any]:
    assert not response.has_error(), response.error().message()  # type: ignore[union-attr]
    return {one.name(): one.as_numpy().reshape(-1)[0] for one in response.output_tensors()}


def test_whole_and_streamed_answers_are_the_same(repository: Repository) -> None:
    whole: list[InferenceResponse] = []
    ask(repository, whole, sampling_param_max_tokens=12, return_finish_reason=True)
    assert len(whole) == 1
    told = outputs(whole[0])
    assert told["finish_reason"] == b"length" and told["text_output"]
    pieces: list[InferenceResponse] = []
    ask(repository, pieces, sampling_param_max_tokens=12, streaming=True)
    assert len(pieces) > 1
    assert b"".join(outputs(piece)["text_output"] for piece in pieces) == told["text_output"]


def test_a_wrong_setting_comes_back_in_words(repository: Repository) -> None:
    seen: list[InferenceResponse] = []
    ask(repository, seen, sampling_param_max_tokens=100_000)
    assert len(seen) == 1 and seen[0].has_error()
    words = seen[0].error().message()  # type: ignore[union-attr]
    assert "needs more KV blocks than the pool has" in words and "Traceback" not in words
