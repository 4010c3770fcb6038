"""The whole way of a request in one model: tokens, engine, text as it comes; with a draft engine, speculation too.

A thread a request, so that one instance serves as many as the engine's batch holds. The text of a stream is put
together here, where all of its tokens are seen: no character is cut, and stop words are found across tokens.
"""

from __future__ import annotations

import json
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

import triton_text as texts

TO_PREPROCESSING = {
    "text_input": "QUERY",
    "max_tokens": "REQUEST_OUTPUT_LEN",
    "bad_words": "BAD_WORDS_DICT",
    "stop_words": "STOP_WORDS_DICT",
    "embedding_bias_words": "EMBEDDING_BIAS_WORDS",
    "embedding_bias_weights": "EMBEDDING_BIAS_WEIGHTS",
    "end_id": "END_ID",
    "pad_id": "PAD_ID",
}
FROM_PREPROCESSING = {
    "INPUT_ID": "input_ids",
    "REQUEST_INPUT_LEN": "input_lengths",
    "REQUEST_OUTPUT_LEN": "request_output_len",
    "BAD_WORDS_IDS": "bad_words_list",
    "STOP_WORDS_IDS": "stop_words_list",
    "EMBEDDING_BIAS": "embedding_bias",
    "OUT_END_ID": "end_id",
    "OUT_PAD_ID": "pad_id",
}
TO_ENGINE = {
    "top_k": "runtime_top_k",
    "top_p": "runtime_top_p",
    "temperature": "temperature",
    "length_penalty": "len_penalty",
    "repetition_penalty": "repetition_penalty",
    "min_tokens": "min_tokens",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "return_log_probs": "return_log_probs",
    "return_context_logits": "return_context_logits",
    "return_generation_logits": "return_generation_logits",
    "return_perf_metrics": "return_perf_metrics",
    "return_num_input_tokens": "return_num_input_tokens",
    "return_num_output_tokens": "return_num_output_tokens",
    "num_return_sequences": "num_return_sequences",
    "beam_width": "beam_width",
    "exclude_input_in_output": "exclude_input_in_output",
    "stream": "streaming",
}
TOKENS = ("output_ids", "sequence_length")
OWN = (*TOKENS, "text_output", "context_phase_params")
LAST = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
LOOK_S = 0.5
"""How often it is looked whether clients have gone while the engine is silent."""


class RequestError(ValueError):
    """A request that cannot be served; its text goes to the client."""


class Cancelled(Exception):
    """The client has gone."""


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        parameters = texts.read_parameters(config)
        self.decoupled = bool(config.get("model_transaction_policy", {}).get("decoupled"))
        self.tokenizer = texts.load(parameters)
        self.skips_special = parameters.get("skip_special_tokens", "true") == "true"
        self.engine = parameters["tensorrt_llm_model_name"]
        self.draft = parameters.get("tensorrt_llm_draft_model_name", "")
        self.draft_tokens = int(parameters.get("num_draft_tokens") or 0)
        self.outputs = {tensor["name"] for tensor in config["output"]}
        threads = int(parameters.get("threads") or 1)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="bls")
        self.free = threading.Semaphore(threads)
        self.waiting = {}
        self.closed = threading.Event()
        threading.Thread(target=self._look, name="bls clients", daemon=True).start()

    def execute(self, requests):
        if self.decoupled:
            for request in requests:
                # With all threads taken it waits here, so that the others wait in Triton's queue, which is counted.
                self.free.acquire()
                self.pool.submit(self._stream, request, request.get_response_sender())
            return None
        return list(self.pool.map(self._whole, requests))

    def finalize(self):
        self.pool.shutdown(wait=True)
        self.closed.set()

    def _look(self):
        """Stops the engine for clients that have gone: an answer that comes whole has no piece to notice it by."""
        while not self.closed.wait(LOOK_S):
            for number, (cancelled, model, inputs) in list(self.waiting.items()):
                try:
                    if cancelled() and self.waiting.pop(number, None) is not None:
                        self._stop(model, inputs, number)
                except Exception as error:
                    pb_utils.Logger.log_warn(f"{model}: a request could not be stopped: {_words(error)}")

    def _whole(self, request):
        """The one response of a request, where pieces are not allowed."""
        try:
            if _asked(request, "stream", False):
                raise RequestError("This model does not stream: it was exported without --decoupled.")
            found = list(self._answers(request, lambda: request.is_cancelled()))
            if not found:
                raise RequestError("The engine gave no answer.")
            return pb_utils.InferenceResponse(output_tensors=found[-1])
        except Cancelled:
            return _error("The request was cancelled.")
        except Exception as error:
            return _error(_words(error))

    def _stream(self, request, sender):
        """All responses of a request; the last call says that it is the last."""
        try:
            for tensors in self._answers(request, sender.is_cancelled):
                sender.send(pb_utils.InferenceResponse(output_tensors=tensors))
            sender.send(flags=LAST)
        except Cancelled:
            sender.send(flags=LAST)
        except Exception as error:
            sender.send(_error(_words(error)), flags=LAST)
        finally:
            self.free.release()

    def _answers(self, request, cancelled):
        """The output tensors of each response."""
        prompt = _array(request, "text_input")
        if prompt is None or prompt.size != 1:
            raise RequestError("One prompt a request is taken.")
        stops = [_text(word) for word in _flat(request, "stop_words")]
        inputs = self._prepared(request)
        streams = bool(_asked(request, "stream", False))
        several = _asked(request, "beam_width", 1) > 1 or _asked(request, "num_return_sequences", 1) > 1
        if streams and several:
            raise RequestError("One sequence is streamed: leave beam_width and num_return_sequences at 1.")
        if self.draft and _asked(request, "num_draft_tokens", self.draft_tokens) > 0:
            if several:
                raise RequestError("Drafting takes one sequence: leave beam_width and num_return_sequences at 1.")
            steps = self._drafted(request, inputs, cancelled)
        else:
            steps = self._generated(self.engine, inputs, cancelled)
        text = texts.Stream(self.tokenizer, stops, self.skips_special)
        if streams:
            yield from self._pieces(steps, text)
        elif several:
            for outputs in steps:
                yield self._tensors([self._decoded(ids, stops) for ids in _sequences(outputs)], outputs)
        else:
            yield from self._joined(steps, text)

    def _pieces(self, steps, text):
        outputs = {}
        for outputs in steps:
            piece = text.feed(_sequences(outputs)[0])
            if text.stopped:
                steps.close()
            yield self._tensors([piece], outputs)
            if text.stopped:
                return
        rest = text.end()
        if rest:
            yield self._tensors([rest], {name: outputs[name] for name in TOKENS if name in outputs})

    def _joined(self, steps, text):
        pieces, outputs, count = [], None, 0
        for outputs in steps:
            ids = _sequences(outputs)[0]
            count += len(ids)
            pieces.append(text.feed(ids))
            if text.stopped:
                steps.close()
                break
        if outputs is not None:
            if "num_output_tokens" in outputs:
                outputs["num_output_tokens"] = np.array([[count]], dtype=np.int32)
            yield self._tensors(["".join(pieces) + text.end()], outputs)

    def _decoded(self, ids, stops):
        text = texts.Stream(self.tokenizer, stops, self.skips_special)
        return text.feed(ids) + text.end()

    def _tensors(self, answers, outputs):
        encoded = np.array([[answer.encode("utf-8") for answer in answers]], dtype=object)
        more = [
            pb_utils.Tensor(name, value) for name, value in outputs.items() if name in self.outputs and name not in OWN
        ]
        return [pb_utils.Tensor("text_output", encoded), *more]

    def _prepared(self, request):
        """The engine's inputs."""
        given = {theirs: _array(request, name) for name, theirs in TO_PREPROCESSING.items()}
        tensors = [pb_utils.Tensor(name, value) for name, value in given.items() if value is not None]
        response = pb_utils.InferenceRequest(
            model_name="preprocessing", inputs=tensors, requested_output_names=list(FROM_PREPROCESSING)
        ).exec()
        if response.has_error():
            raise RequestError(response.error().message())
        found = _outputs(response)
        inputs = {theirs: found[name] for name, theirs in FROM_PREPROCESSING.items()}
        for name, theirs in TO_ENGINE.items():
            value = _array(request, name)
            if value is not None:
                inputs[theirs] = value.reshape(1, 1)
        # Lists without a word are left out: they ask for nothing.
        return {name: value for name, value in inputs.items() if value.size}

    def _generated(self, model, inputs, cancelled):
        """The outputs of each response of an engine. Left early, the engine is told to stop."""
        number = uuid.uuid4().hex
        wanted = [*TOKENS, *(name for name in self.outputs if name not in OWN)]
        tensors = [pb_utils.Tensor(name, value) for name, value in inputs.items()]
        asked = pb_utils.InferenceRequest(
            model_name=model, inputs=tensors, requested_output_names=wanted, request_id=number
        )
        self.waiting[number] = (cancelled, model, inputs)
        responses, ended = (), False
        try:
            responses = asked.exec(decoupled=True) if self.decoupled else iter([asked.exec()])
            for response in responses:
                if cancelled():
                    raise Cancelled
                if response.has_error():
                    raise RequestError(response.error().message())
                outputs = _outputs(response)
                if outputs:
                    yield outputs
            ended = True
        finally:
            unstopped = self.waiting.pop(number, None) is not None
            if not ended and self.decoupled:
                if unstopped:
                    self._stop(model, inputs, number)
                for _ in responses:
                    pass

    def _stop(self, model, inputs, number):
        names = ("input_ids", "input_lengths", "request_output_len")
        tensors = [pb_utils.Tensor(name, inputs[name]) for name in names]
        tensors.append(pb_utils.Tensor("stop", np.array([[True]])))
        asked = pb_utils.InferenceRequest(
            model_name=model, inputs=tensors, requested_output_names=list(TOKENS), request_id=number
        )
        for _ in asked.exec(decoupled=True) if self.decoupled else [asked.exec()]:
            pass

    def _drafted(self, request, inputs, cancelled):
        """As `_generated`: the draft engine proposes a few tokens, the target takes or mends them, and so on."""
        most = int(inputs["request_output_len"].reshape(-1)[0])
        ahead = int(_asked(request, "num_draft_tokens", self.draft_tokens))
        by_logits = bool(_asked(request, "use_draft_logits", False))
        end = int(inputs["end_id"].reshape(-1)[0])
        stops = [[end], *_words_ids(inputs.get("stop_words_list"))]
        prompt = inputs["input_ids"].reshape(-1).tolist()
        fixed = {name: value for name, value in inputs.items() if name not in ("streaming", "exclude_input_in_output")}
        made, proposed, accepted = [], 0, 0
        while len(made) < most:
            context = prompt + made
            room = min(ahead, most - len(made) - 1)
            draft, logits = self._proposal(fixed, context, room, by_logits, cancelled) if room > 0 else ([], None)
            draft = draft[:room]
            more = {"draft_input_ids": np.array([draft], dtype=np.int32)} if draft else {}
            if draft and logits is not None:
                more["draft_logits"] = logits[:, 0, : len(draft)]
            outputs = self._turn(self.engine, fixed, context, len(draft) + 1, more, cancelled)
            new = _sequences(outputs)[0].tolist()[: most - len(made)]
            proposed += len(draft)
            accepted += _agreed(draft, new)
            made += new
            outputs["total_draft_tokens"] = np.array([[proposed]], dtype=np.int32)
            outputs["total_accepted_draft_tokens"] = np.array([[accepted]], dtype=np.int32)
            outputs.pop("acceptance_rate", None)
            if proposed:
                outputs["acceptance_rate"] = np.array([[accepted / proposed]], dtype=np.float32)
            # The engine counts what it was given in this turn: the answer so far is no prompt.
            for name, count in (("num_input_tokens", len(prompt)), ("num_output_tokens", len(new))):
                if name in outputs:
                    outputs[name] = np.array([[count]], dtype=np.int32)
            outputs["output_ids"] = np.array([[new]], dtype=np.int32)
            outputs["sequence_length"] = np.array([[len(new)]], dtype=np.int32)
            yield outputs
            if not new or end in new or any(made[-len(word) :] == word for word in stops):
                return

    def _proposal(self, fixed, context, room, by_logits, cancelled):
        more = {"return_generation_logits": np.array([[True]])} if by_logits else {}
        outputs = self._turn(self.draft, fixed, context, room, more, cancelled)
        return _sequences(outputs)[0].tolist(), outputs.get("generation_logits") if by_logits else None

    def _turn(self, model, fixed, context, length, more, cancelled):
        """One short answer of an engine, whole."""
        inputs = {
            **fixed,
            "input_ids": np.array([context], dtype=np.int32),
            "input_lengths": np.array([[len(context)]], dtype=np.int32),
            "request_output_len": np.array([[length]], dtype=np.int32),
            "exclude_input_in_output": np.array([[True]]),
            **more,
        }
        found = list(self._generated(model, inputs, cancelled))
        if not found:
            raise RequestError("The engine gave no answer.")
        return found[-1]


def _outputs(response):
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def _sequences(outputs):
    """The ids of each sequence of one response."""
    ids = outputs["output_ids"]
    ids = ids.reshape(-1, ids.shape[-1])
    return [row[:length] for row, length in zip(ids, outputs["sequence_length"].reshape(-1), strict=True)]


def _words_ids(array):
    """The ids of each word of a list as preprocessing writes it."""
    if array is None:
        return []
    flat, ends = array.reshape(2, -1).tolist()
    ends = [end for end in ends if end > 0]
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _agreed(draft, new):
    """How many of the drafted tokens were taken."""
    count = 0
    for proposed, made in zip(draft, new, strict=False):
        if proposed != made:
            break
        count += 1
    return count


def _array(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _flat(request, name):
    array = _array(request, name)
    return [] if array is None else list(array.reshape(-1))


def _asked(request, name, default):
    values = _flat(request, name)
    return values[0].item() if values else default


def _text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _words(error):
    return str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"


def _error(words):
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(words))
