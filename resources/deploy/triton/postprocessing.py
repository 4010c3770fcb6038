"""Token ids to text. It keeps nothing between two pieces of one answer: stream through tensorrt_llm_bls."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))

import triton_text as texts


class TritonPythonModel:
    """One instance, in a process of its own."""

    def initialize(self, args):
        parameters = texts.read_parameters(json.loads(args["model_config"]))
        self.tokenizer = texts.load(parameters)
        self.skips_special = parameters.get("skip_special_tokens", "true") == "true"

    def execute(self, requests):
        return [self._response(request) for request in requests]

    def _response(self, request):
        """One that fails is one error; those that were batched with it are answered."""
        try:
            return self._answer(request)
        except Exception as error:
            words = pb_utils.TritonError(f"{type(error).__name__}: {error}")
            return pb_utils.InferenceResponse(output_tensors=[], error=words)

    def _answer(self, request):
        tokens = pb_utils.get_input_tensor_by_name(request, "TOKENS_BATCH").as_numpy()
        lengths = pb_utils.get_input_tensor_by_name(request, "SEQUENCE_LENGTH").as_numpy()
        rows, beams = tokens.shape[0], tokens.shape[1]
        lengths = lengths.reshape(rows, beams)
        found = np.empty((rows, beams), dtype=object)
        for row in range(rows):
            for beam in range(beams):
                ids = tokens[row, beam, : lengths[row, beam]].tolist()
                found[row, beam] = texts.decode(self.tokenizer, ids, self.skips_special).encode("utf-8")
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT", found)])
