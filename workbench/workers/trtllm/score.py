"""Worker `trtllm.score`: quality of a TensorRT-LLM engine.

Logits of a prompt are there only where the engine was built with gather_context_logits. Without them agreement is
still measured, by asking for one token after every prefix; perplexity and KL divergence are then not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workbench.core.measure.scores import tokenizer_digest
from workbench.workers.common import first_line, input_folder, quiet_environment
from workbench.workers.hosts.serving import usable_template
from workbench.workers.hosts.text import ChatTemplate, TemplateError
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.scoring.ends import end_ids
from workbench.workers.scoring.score import PHASES, read_questions, score
from workbench.workers.trtllm.common import PACKAGES
from workbench.workers.trtllm.engine import Engine, applied_settings, host_settings, load_engine

NO_LOGITS = "the engine was built without gather_context_logits"
_AT_ONCE = 64
"""Requests handed over together."""


class Model:
    """A loaded engine; see workbench.workers.scoring.model.ScoredModel."""

    def __init__(self, engine: Engine, template: ChatTemplate | None) -> None:
        self._engine, self._template = engine, template
        vocabulary = engine.config.pretrained.get("vocab_size")
        self.vocabulary = vocabulary if isinstance(vocabulary, int) else None
        self.max_seq_len: int | None = engine.max_seq_len
        ends = end_ids(engine.tokenizer_folder)
        own = getattr(engine.tokenizer, "eos_token_id", None)
        self.end_ids = ends or frozenset([own] if isinstance(own, int) else ())
        self.settings = applied_settings(engine)
        self.no_logits = "" if engine.config.build.get("gather_context_logits") is True else NO_LOGITS

    def encode(self, text: str) -> list[int]:
        return self._engine.encode(text, True)

    def chat(self, text: str) -> list[int]:
        if self._template is not None:
            try:
                return self._engine.encode(self._template.render([{"role": "user", "content": text}]), False)
            except TemplateError:
                pass  # the question goes as plain text, as the host would take it
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._engine.tokenizer.decode(list(ids), skip_special_tokens=False))

    def rows(self, ids: Sequence[int], start: int) -> Iterator[Any]:
        output = self._ask([list(ids)], 1, return_context_logits=True)[0]
        logits = output.context_logits
        if logits is None:
            raise WorkerError(
                "TensorRT-LLM gave no context logits",
                code="no-logits",
                cause="the engine says that it was built with gather_context_logits",
                hint="Build it again with build.flags.gather_context_logits = true.",
            )
        if hasattr(logits, "float"):
            logits = logits.float().cpu().numpy()
        yield logits[start:]

    def greedy(self, ids: Sequence[int], most: int, enough: Callable[[list[int]], bool] | None = None) -> list[int]:
        answer = self._answer(self._ask([list(ids)], most)[0])
        if enough is not None:
            for length in range(1, len(answer)):
                if enough(answer[:length]):
                    return answer[:length]
        return answer

    def answers(self, prompts: Sequence[Sequence[int]], most: int, done: Callable[[int], None]) -> list[list[int]]:
        found = [self._answer(output) for output in self._ask([list(prompt) for prompt in prompts], most)]
        done(len(found))
        return found

    def next_tokens(self, ids: Sequence[int], start: int) -> list[int]:
        prefixes = [list(ids[: end + 1]) for end in range(start, len(ids))]
        return [int(output.outputs[0].token_ids[0]) for output in self._ask(prefixes, 1)]

    def _ask(self, prompts: list[list[int]], most: int, **more: Any) -> list[Any]:
        """Greedy answers, `_AT_ONCE` prompts in flight. The end token is an answer as any other for one token alone:
        the library leaves it out otherwise."""
        from tensorrt_llm._tensorrt_engine import SamplingParams

        params = SamplingParams(max_tokens=most, detokenize=False, ignore_eos=most == 1, **more)
        found = []
        try:
            for at in range(0, len(prompts), _AT_ONCE):
                asked = [self._engine.llm.generate_async(ids, params) for ids in prompts[at : at + _AT_ONCE]]
                found += [output.result() for output in asked]
        except Exception as error:
            raise WorkerError(
                "TensorRT-LLM failed on a prompt",
                code="engine-failed",
                cause=f"{type(error).__name__}: {first_line(error)}",
                hint="The log has the full text.",
            ) from error
        return found

    def _answer(self, output: Any) -> list[int]:
        ids = [int(token) for token in output.outputs[0].token_ids]
        # An end token that the library cut off is a choice that the model made.
        if output.outputs[0].finish_reason == "stop" and ids[-1:] and ids[-1] not in self.end_ids and self.end_ids:
            ids.append(min(self.end_ids))
        return ids


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Score `inputs.engine` on `inputs.questions`; `inputs.tokenizer`: as for the host; `inputs.baseline`: the folder
    that the baseline's score filled, or not given for the baseline itself. Settings: as for the host. Fills
    `spec.output`."""
    quiet_environment()
    folder = input_folder(spec, "engine")
    tokenizer = input_folder(spec, "tokenizer") if spec.inputs.get("tokenizer") else folder
    questions = read_questions(spec)
    settings = host_settings(spec.settings, channel)
    channel.phase("load", 1, len(PHASES))
    engine = load_engine(folder, tokenizer, settings, channel)
    model = Model(engine, usable_template(tokenizer, channel))
    return score(model, spec, questions, tokenizer_digest(tokenizer), channel)


if __name__ == "__main__":
    run_worker("trtllm.score", work, packages=PACKAGES)
