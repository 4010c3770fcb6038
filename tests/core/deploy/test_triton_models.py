"""The Python models of an exported repository, run by a strict stand-in of Triton with a scripted engine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.fakes.triton.backend_utils import InferenceResponse, Request
from tests.fakes.triton.repository import Engine, Repository, TritonRefusedError
from tests.fakes.triton.server import serving
from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.triton.export import triton_export
from workbench.core.deploy.triton.options import TritonOptions
from workbench.deploy.write import write_export

pytestmark = pytest.mark.slow
SAYS = "Größe: 東京 und 🙂 mehr"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trtllm_engine(tmp_path_factory.mktemp("triton") / "engine")


@pytest.fixture(scope="module")
def ids(engine: Path) -> list[int]:
    from transformers import AutoTokenizer

    found: list[int] = AutoTokenizer.from_pretrained(str(engine)).encode(SAYS, add_special_tokens=False)
    assert len(found) > len(SAYS)  # bytes: characters are of several tokens
    return found


@pytest.fixture(scope="module")
def exported(engine: Path) -> Path:
    return write_export(triton_export(read_engine_facts(engine)), engine.with_name("out"))


@pytest.fixture(scope="module")
def loaded(exported: Path, ids: list[int]) -> Iterator[Repository]:
    made = Repository(exported / "model_repository", exported, {"tensorrt_llm": Engine(ids)})
    yield made
    made.close()


@pytest.fixture
def repository(loaded: Repository, ids: list[int]) -> Repository:
    """With an engine that was asked nothing yet."""
    loaded.engines["tensorrt_llm"] = Engine(ids)
    return loaded


def asked(text: str, length: int, **more: Any) -> dict[str, np.ndarray]:
    kinds = {"stream": np.bool_, "return_num_input_tokens": np.bool_, "return_num_output_tokens": np.bool_}
    kinds |= {"stop_words": object, "bad_words": object, "seed": np.uint64, "end_id": np.int32}
    found = {
        "text_input": np.array([[text.encode()]], dtype=object),
        "max_tokens": np.array([[length]], dtype=np.int32),
    }
    for name, value in more.items():
        values = [
            one.encode() if isinstance(one, str) else one for one in (value if isinstance(value, list) else [value])
        ]
        found[name] = np.array([values], dtype=kinds.get(name, np.int32))
    return found


def answers(repository: Repository, model: str, inputs: dict[str, np.ndarray]) -> list[str]:
    """The text of each response; an error is raised."""
    found: list[InferenceResponse] = []
    repository.run(model, inputs, found.append)
    for response in found:
        if response.has_error():
            raise TritonRefusedError(response.error().message())  # type: ignore[union-attr]
    tensors = [{one.name(): one.as_numpy() for one in response.output_tensors()} for response in found]
    return [tensor["text_output"].reshape(-1)[0].decode() for tensor in tensors if "text_output" in tensor]


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm_bls"])
def test_a_prompt_goes_through_all_models_and_comes_back_as_text(
    repository: Repository, ids: list[int], model: str
) -> None:
    assert answers(repository, model, asked("Hello", len(ids), seed=7)) == [SAYS]
    sent = repository.engines["tensorrt_llm"].asked[-1]
    assert sent["input_lengths"].tolist() == [[5]] and sent["seed"].tolist() == [[7]]
    assert sent["end_id"].tolist() == [[1]]


def test_streamed_text_has_no_character_that_is_cut(repository: Repository, ids: list[int]) -> None:
    pieces = answers(repository, "tensorrt_llm_bls", asked("Hello", len(ids), stream=True))
    assert "".join(pieces) == SAYS and len(pieces) >= len(ids)
    assert all("\ufffd" not in piece for piece in pieces)
    assert sum(map(bool, pieces)) >= len(SAYS) - 2  # as it comes, not at the end
    # The ensemble keeps nothing between pieces, which is why the README sends streams through BLS.
    assert "\ufffd" in "".join(answers(repository, "ensemble", asked("Hello", len(ids), stream=True)))


def test_an_answer_that_ends_within_a_character_says_so_and_goes_no_further(
    repository: Repository, ids: list[int]
) -> None:
    pieces = answers(repository, "tensorrt_llm_bls", asked("Hello", 3, stream=True))
    assert "".join(pieces) == "Gr\ufffd"


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_word_ends_the_answer_and_the_engine(repository: Repository, ids: list[int], stream: bool) -> None:
    backend = repository.engines["tensorrt_llm"]
    backend.token_s = 0.005
    pieces = answers(repository, "tensorrt_llm_bls", asked("Hello", len(ids), stream=stream, stop_words=[" und"]))
    assert "".join(pieces) == "Größe: 東京"
    words = backend.asked[-1]["stop_words_list"]
    assert words.shape == (1, 2, 4) and words[0, 1].tolist() == [4, -1, -1, -1]
    if stream:
        assert len(backend.stopped) == 1 and backend.made < len(ids) and backend.active == 0


def test_a_client_that_goes_ends_its_request_in_the_engine(repository: Repository, ids: list[int]) -> None:
    backend = repository.engines["tensorrt_llm"]
    backend.token_s = 0.005
    seen: list[InferenceResponse] = []
    inputs = asked("Hello", 200, stream=True)
    repository.run("tensorrt_llm_bls", inputs, seen.append, cancelled=lambda: len(seen) >= 3)
    assert len(seen) == 3 and len(backend.stopped) == 1
    assert backend.active == 0 and backend.made < 50


def test_a_client_that_goes_ends_an_answer_that_comes_whole(repository: Repository) -> None:
    """Nothing comes from the engine by which it could be noticed."""
    backend = repository.engines["tensorrt_llm"]
    backend.token_s = 0.02
    began = time.monotonic()
    seen: list[InferenceResponse] = []
    repository.run("tensorrt_llm_bls", asked("Hello", 200), seen.append, cancelled=lambda: True)
    assert time.monotonic() - began < 2 and len(backend.stopped) == 1  # 4 s would be the whole answer
    assert backend.active == 0 and not seen


def test_a_request_that_fails_takes_none_of_its_batch_along(repository: Repository) -> None:
    wrong = {"QUERY": np.array([[b"Hi"]], dtype=object), "REQUEST_OUTPUT_LEN": np.array([[4]], dtype=np.int32)}
    right = dict(wrong)
    wrong["END_ID"] = np.zeros((1, 0), dtype=np.int32)
    requests = [Request(inputs, [], "", print, lambda: False) for inputs in (wrong, right)]
    first, second = repository.python("preprocessing").execute(requests)
    assert first.has_error() and "IndexError" in first.error().message() and not second.has_error()
    lengths = {"SEQUENCE_LENGTH": np.array([[2]], dtype=np.int32)}
    wrong = {"TOKENS_BATCH": np.array([[[-7, 65]]], dtype=np.int32), **lengths}
    right = {"TOKENS_BATCH": np.array([[[65, 66]]], dtype=np.int32), **lengths}
    requests = [Request(inputs, [], "", print, lambda: False) for inputs in (wrong, right)]
    first, second = repository.python("postprocessing").execute(requests)
    assert first.has_error() and not second.has_error()


def test_all_ends_of_a_chat_model_end_its_answers(repository: Repository) -> None:
    model, backend = repository.python("preprocessing"), repository.engines["tensorrt_llm"]
    assert model.more_ends == []  # this model has one
    model.more_ends = [(9,), (7,)]
    try:
        answers(repository, "ensemble", asked("Hello", 4))
        answers(repository, "ensemble", asked("Hello", 4, stop_words=["ab"]))
        answers(repository, "ensemble", asked("Hello", 4, end_id=-1))
    finally:
        model.more_ends = []
    plain, worded, endless = [sent.get("stop_words_list") for sent in backend.asked]
    assert plain is not None and plain.tolist() == [[[9, 7], [1, 2]]]
    assert worded is not None and worded[0, 1].tolist() == [2, 3, 4, -1] and worded[0, 0].tolist()[2:] == [9, 7]
    assert endless is None or not endless.size


def test_a_bad_word_is_kept_out_at_the_beginning_of_a_word_too(repository: Repository) -> None:
    answers(repository, "ensemble", asked("Hello", 4, bad_words=["no", " so"]))
    words = repository.engines["tensorrt_llm"].asked[-1]["bad_words_list"]
    assert words[0, 1].tolist()[:4] == [2, 5, 8, -1]  # "no", " so", " no"


def test_one_instance_serves_many_at_once_and_no_more_than_two_batches(repository: Repository, ids: list[int]) -> None:
    backend = repository.engines["tensorrt_llm"]
    backend.token_s = 0.003
    found: list[list[str]] = []

    def work() -> None:
        found.append(answers(repository, "tensorrt_llm_bls", asked("Hello", len(ids), stream=True)))

    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ["".join(pieces) for pieces in found] == [SAYS] * 24
    assert 2 <= backend.most_active <= 16


@pytest.mark.parametrize(
    ("text", "length", "words"),
    [
        ("x" * 193, 8, "The prompt has 193 tokens; the engine takes 192."),
        ("x" * 100, 157, "The prompt has 100 tokens and 157 are asked for; the engine holds 256."),
        ("", 8, "The prompt is empty."),
        ("x", 0, "max_tokens is 0; at least 1 is needed."),
    ],
)
def test_what_the_engine_cannot_hold_is_refused_in_words(
    repository: Repository, text: str, length: int, words: str
) -> None:
    for model in ("tensorrt_llm_bls", "ensemble"):
        with pytest.raises(TritonRefusedError, match=words):
            answers(repository, model, asked(text, length))
    assert not repository.engines["tensorrt_llm"].asked


def test_beams_come_whole_and_are_not_streamed(repository: Repository, ids: list[int]) -> None:
    found: list[InferenceResponse] = []
    repository.run("tensorrt_llm_bls", asked("Hello", 4, beam_width=2), found.append)
    texts = found[0].output_tensors()[0].as_numpy()
    assert texts.shape == (1, 2) and texts[0, 0] == texts[0, 1]
    with pytest.raises(TritonRefusedError, match="One sequence is streamed"):
        answers(repository, "tensorrt_llm_bls", asked("Hello", 4, beam_width=2, stream=True))


def test_without_decoupled_nothing_is_streamed(engine: Path, tmp_path: Path, ids: list[int]) -> None:
    export = triton_export(read_engine_facts(engine), TritonOptions(decoupled=False))
    out = write_export(export, tmp_path / "out")
    made = Repository(out / "model_repository", out, {"tensorrt_llm": Engine(ids)})
    try:
        assert answers(made, "tensorrt_llm_bls", asked("Hello", len(ids))) == [SAYS]
        with pytest.raises(TritonRefusedError, match="exported without --decoupled"):
            answers(made, "tensorrt_llm_bls", asked("Hello", 4, stream=True))
    finally:
        made.close()


@pytest.mark.parametrize(("wrong_at", "accepted", "proposed"), [(None, 16, 16), (2, 15, 17)])
def test_a_draft_engine_proposes_and_the_target_decides(
    tmp_path: Path, engine: Path, ids: list[int], wrong_at: int | None, accepted: int, proposed: int
) -> None:
    flags = {"speculative_decoding_mode": "draft_tokens_external", "max_draft_len": 4}
    target = read_engine_facts(make_trtllm_engine(tmp_path / "target", flags=flags))
    options = TritonOptions(draft=read_engine_facts(engine), draft_tokens=4)
    out = write_export(triton_export(target, options), tmp_path / "out")
    length = 20
    # A draft that errs at every fifth place lets the target mend it.
    guesses = [
        (token + 1) % 256 + 10 if wrong_at is not None and at % 5 == wrong_at else token for at, token in enumerate(ids)
    ]
    engines = {"tensorrt_llm": Engine(ids[:length]), "tensorrt_llm_draft": Drafter(ids[:length], guesses[:length])}
    made = Repository(out / "model_repository", out, engines)
    found: list[InferenceResponse] = []
    whole: list[InferenceResponse] = []
    short: list[InferenceResponse] = []
    ended: list[InferenceResponse] = []
    counted = {"return_num_input_tokens": True, "return_num_output_tokens": True}
    try:
        made.run("tensorrt_llm_bls", asked("Hello", length, stream=True), found.append)
        made.run("tensorrt_llm_bls", asked("Hello", length, **counted), whole.append)
        made.run("tensorrt_llm_bls", asked("Hello", 1), short.append)
        made.python("preprocessing").more_ends = [(ids[4],)]
        made.run("tensorrt_llm_bls", asked("Hello", length, **counted), ended.append)
    finally:
        made.close()
    outputs = [{one.name(): one.as_numpy() for one in response.output_tensors()} for response in found]
    text = "".join(one["text_output"].reshape(-1)[0].decode() for one in outputs)
    assert SAYS.startswith(text) and len(text) > 10
    last = [one for one in outputs if "total_draft_tokens" in one][-1]
    assert last["total_accepted_draft_tokens"].tolist() == [[accepted]]
    assert last["total_draft_tokens"].tolist() == [[proposed]]
    assert last["acceptance_rate"].reshape(-1)[0] == pytest.approx(accepted / proposed)
    told = {one.name(): one.as_numpy().tolist() for one in whole[0].output_tensors()}
    assert told["num_input_tokens"] == [[5]] and told["num_output_tokens"] == [[length]]
    told = {one.name(): one.as_numpy().tolist() for one in ended[0].output_tensors()}
    if wrong_at is None:  # the first turn ends with the model's other end id, and there is no second
        assert told["num_output_tokens"] == [[5]] and told["total_draft_tokens"] == [[4]]
    # Nothing was proposed, so there is no share of it.
    assert "acceptance_rate" not in {one.name() for one in short[0].output_tensors()}


class Drafter(Engine):
    """Guesses by what the target says, with faults of its own."""

    def __init__(self, says: list[int], guesses: list[int]) -> None:
        super().__init__(says)
        self._guesses = guesses

    def _answer(self, prompt: list[int], most: int, end: int, draft: list[int] | None) -> list[int]:
        at = next((n for n in range(min(len(self.says), len(prompt)), 0, -1) if prompt[-n:] == list(self.says[:n])), 0)
        return self._guesses[at : at + most]


def test_the_smoke_test_passes_against_it_and_fails_in_words_without(exported: Path, repository: Repository) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(exported / "smoke_test.py"), *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    with serving(repository) as server:
        done = run("--url", server.url, "--metrics", server.metrics_url)
        assert (done.returncode, done.stderr) == (0, "")
        compose = yaml.safe_load((exported / "compose.yaml").read_text())["services"]["triton"]
        kind, _, *health = compose["healthcheck"]["test"]
        argv = [sys.executable, *(one.replace(":8000", f":{server.url.rpartition(':')[2]}") for one in health)]
        assert kind == "CMD" and subprocess.run(argv, timeout=60, check=False).returncode == 0
        assert done.stdout.splitlines()[-1] == "passed" and "tensorrt_llm_bls streamed 16 pieces" in done.stdout
        gone = server.url
    done = run("--url", gone, "--wait", "0.1")
    assert done.returncode == 1 and "not ready after 0.1 s" in done.stderr


def test_over_http_a_client_that_goes_is_noticed(repository: Repository, ids: list[int]) -> None:
    backend = repository.engines["tensorrt_llm"]
    backend.token_s = 0.01
    with serving(repository) as server:
        body = json.dumps({"text_input": "Hello", "max_tokens": 200, "stream": True}).encode()
        url = f"{server.url}/v2/models/tensorrt_llm_bls/generate_stream"
        with urllib.request.urlopen(urllib.request.Request(url, data=body)) as answer:
            assert b"text_output" in answer.readline()
        ends = time.monotonic() + 5
        while backend.active and time.monotonic() < ends:
            time.sleep(0.01)
    assert backend.active == 0 and backend.made < 200 and len(backend.stopped) == 1
