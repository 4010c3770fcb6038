"""Prompts to token ids, with the limits of the engine checked before they reach it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

import triton_text as texts


class RequestError(ValueError):
    """A request that cannot be served; its text goes to the client."""


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args):
        parameters = texts.read_parameters(json.loads(args["model_config"]))
        self.tokenizer = texts.load(parameters)
        self.adds_special = parameters.get("add_special_tokens", "true") == "true"
        self.limits = {name: int(parameters[name]) for name in ("max_seq_len", "max_input_len") if name in parameters}
        self.vocabulary = int(parameters.get("vocab_size") or len(self.tokenizer))
        self.end_id = self.tokenizer.eos_token_id
        # The engine takes one end id: the others of the model go to it as stop words.
        self.more_ends = [(one,) for one in texts.end_ids(parameters) if one != self.end_id]
        self.pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_id

    def execute(self, requests):
        responses = []
        for request in requests:
            try:
                tensors = [pb_utils.Tensor(name, value) for name, value in self._answer(request).items()]
                responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            except Exception as error:
                # One that fails is one error; those that were batched with it are answered.
                words = str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
                responses.append(pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(words)))
        return responses

    def _answer(self, request):
        prompts = [_text(row[0]) for row in _array(request, "QUERY").reshape(-1, 1)]
        wanted = _array(request, "REQUEST_OUTPUT_LEN").reshape(-1).astype(np.int32)
        rows = len(prompts)
        if len(wanted) != rows:
            raise RequestError(f"{rows} prompts came with {len(wanted)} values of max_tokens.")
        ids = [texts.prompt_ids(self.tokenizer, prompt, self.adds_special) for prompt in prompts]
        for one, length in zip(ids, wanted, strict=True):
            self._check(len(one), int(length))
        end_id, pad_id = self._special(request, "END_ID", self.end_id), self._special(request, "PAD_ID", self.pad_id)
        padding = pad_id if pad_id is not None and pad_id >= 0 else 0
        ends = [] if _array(request, "END_ID", needed=False) is not None else self.more_ends
        longest = max(len(one) for one in ids)
        return {
            "INPUT_ID": np.array([one + [padding] * (longest - len(one)) for one in ids], dtype=np.int32),
            "REQUEST_INPUT_LEN": np.array([[len(one)] for one in ids], dtype=np.int32),
            "REQUEST_OUTPUT_LEN": wanted.reshape(rows, 1),
            "BAD_WORDS_IDS": self._words(request, "BAD_WORDS_DICT", rows, [], everywhere=True),
            "STOP_WORDS_IDS": self._words(request, "STOP_WORDS_DICT", rows, ends),
            "EMBEDDING_BIAS": self._bias(request, rows),
            "OUT_END_ID": np.full((rows, 1), -1 if end_id is None else end_id, dtype=np.int32),
            "OUT_PAD_ID": np.full((rows, 1), -1 if pad_id is None else pad_id, dtype=np.int32),
        }

    def _check(self, length, wanted):
        if length == 0:
            raise RequestError("The prompt is empty.")
        if wanted < 1:
            raise RequestError(f"max_tokens is {wanted}; at least 1 is needed.")
        longest = self.limits.get("max_input_len")
        if longest is not None and length > longest:
            raise RequestError(f"The prompt has {length} tokens; the engine takes {longest}.")
        most = self.limits.get("max_seq_len")
        if most is not None and length + wanted > most:
            raise RequestError(f"The prompt has {length} tokens and {wanted} are asked for; the engine holds {most}.")

    def _special(self, request, name, default):
        array = _array(request, name, needed=False)
        return default if array is None else int(array.reshape(-1)[0])

    def _words(self, request, name, rows, ids, everywhere=False):
        """Row 0: the words' ids one after the other; row 1: where each ends, then -1.

        `ids`: words that are ids already. `everywhere`: at the beginning of a word too, where it has other ids.
        """
        array = _array(request, name, needed=False)
        if array is None and not ids:
            return np.zeros((rows, 2, 0), dtype=np.int32)
        lists = []
        for row in [()] * rows if array is None else array.reshape(rows, -1):
            given = [_text(word) for word in row if len(word)]
            more = [f" {word}" for word in given if everywhere and not word[0].isspace()]
            words = [texts.word_ids(self.tokenizer, word) for word in (*given, *more)]
            words = list(dict.fromkeys((*(tuple(word) for word in words if word), *ids)))
            flat = [token for word in words for token in word]
            ends = list(np.cumsum([len(word) for word in words]))
            lists.append((flat, ends + [-1] * (len(flat) - len(ends))))
        longest = max(len(flat) for flat, _ in lists)
        return np.array(
            [[flat + [0] * (longest - len(flat)), ends + [-1] * (longest - len(ends))] for flat, ends in lists],
            dtype=np.int32,
        ).reshape(rows, 2, longest)

    def _bias(self, request, rows):
        words = _array(request, "EMBEDDING_BIAS_WORDS", needed=False)
        weights = _array(request, "EMBEDDING_BIAS_WEIGHTS", needed=False)
        if words is None and weights is None:
            return np.zeros((rows, 0), dtype=np.float32)
        if words is None or weights is None or words.size != weights.size:
            raise RequestError("embedding_bias_words and embedding_bias_weights must be as many as each other.")
        bias = np.zeros((rows, self.vocabulary), dtype=np.float32)
        for row, (some, weighed) in enumerate(zip(words.reshape(rows, -1), weights.reshape(rows, -1), strict=True)):
            for word, weight in zip(some, weighed, strict=True):
                for token in texts.word_ids(self.tokenizer, _text(word)):
                    bias[row, token] += weight
        return bias


def _array(request, name, needed=True):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        if needed:
            raise RequestError(f"The input {name} is missing.")
        return None
    return tensor.as_numpy()


def _text(value):
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError("The text is not UTF-8.") from error
