"""The models of a repository, from the engine's facts."""

from __future__ import annotations

from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.triton import tensors
from workbench.core.deploy.triton.options import ROOT, TritonOptions
from workbench.core.deploy.triton.parameters import backend_parameters
from workbench.core.deploy.triton.pbtxt import Batching, DType, Model, Step, Tensor

ENGINE, DRAFT_ENGINE, TOKENIZER = f"{ROOT}/engine", f"{ROOT}/draft_engine", f"{ROOT}/tokenizer"
BACKEND, DRAFT, BLS = "tensorrt_llm", "tensorrt_llm_draft", "tensorrt_llm_bls"


def repository(facts: EngineFacts, options: TritonOptions) -> tuple[Model, ...]:
    """The models in the order in which they are listed."""
    if options.form == "llmapi":
        return (_llmapi(options),)
    found = [
        _preprocessing(facts, options),
        _backend(BACKEND, facts, options, ENGINE),
        _postprocessing(facts, options),
        _ensemble(facts),
        _bls(facts, options),
    ]
    if options.draft is not None:
        found.insert(2, _backend(DRAFT, options.draft, options, DRAFT_ENGINE))
    return tuple(found)


def batch(facts: EngineFacts) -> int:
    """Requests that the engine takes at once."""
    return max(1, facts.max_batch_size or 1)


def logits_type(facts: EngineFacts) -> DType:
    """Of the engine's logits: TensorRT-LLM computes them in FP32 unless the checkpoint says float16."""
    return "FP16" if facts.logits_dtype == "float16" else "FP32"


def _batching(facts: EngineFacts, options: TritonOptions) -> Batching:
    return Batching(batch(facts), options.max_queue_delay_us, options.max_queue_size)


def _instances(facts: EngineFacts, options: TritonOptions) -> int:
    return options.instances or min(4, batch(facts))


def _preprocessing(facts: EngineFacts, options: TritonOptions) -> Model:
    parameters = {"tokenizer_dir": TOKENIZER, "add_special_tokens": "true"}
    limits = {"max_seq_len": facts.max_seq_len, "max_input_len": _longest_prompt(facts, options)}
    limits["vocab_size"] = facts.vocab_size
    parameters |= {name: str(value) for name, value in limits.items() if value is not None}
    return Model(
        "preprocessing",
        "python",
        batch(facts),
        tensors.PREPROCESSING_INPUTS,
        tuple(tensor for tensor, _ in tensors.PREPROCESSING),
        parameters | _trusts(facts),
        instances=_instances(facts, options),
        batching=_batching(facts, options),
    )


def _longest_prompt(facts: EngineFacts, options: TritonOptions) -> int | None:
    """Longest prompt: without chunks it must go through the engine in one step of max_num_tokens."""
    found = [facts.max_input_len]
    if not (facts.paged_context_fmha and options.chunked_context):
        found.append(facts.max_num_tokens)
    if facts.max_seq_len is not None:
        found.append(facts.max_seq_len - 1)
    known = [value for value in found if value]
    return min(known) if known else None


def _trusts(facts: EngineFacts) -> dict[str, str]:
    return {"trust_remote_code": "true"} if facts.trust_remote_code else {}


def _backend(name: str, facts: EngineFacts, options: TritonOptions, folder: str) -> Model:
    logits = logits_type(facts)
    return Model(
        name,
        "tensorrtllm",
        batch(facts),
        tensors.backend_inputs(logits),
        tensors.backend_outputs(logits),
        backend_parameters(facts, options, folder),
        instances=1,
        decoupled=options.decoupled,
        batching=_batching(facts, options),
    )


def _postprocessing(facts: EngineFacts, options: TritonOptions) -> Model:
    return Model(
        "postprocessing",
        "python",
        batch(facts),
        tensors.POSTPROCESSING_INPUTS,
        (Tensor("OUTPUT", "STRING", (-1,)),),
        {"tokenizer_dir": TOKENIZER, "skip_special_tokens": "true"} | _trusts(facts),
        instances=_instances(facts, options),
        batching=Batching(),
    )


def _ensemble(facts: EngineFacts) -> Model:
    measured = tensors.measured_outputs(logits_type(facts))
    inner = {tensor.name: f"_{tensor.name}" for tensor, _ in tensors.PREPROCESSING}
    asked = {theirs: tensor.name for tensor, theirs in tensors.ASKED if theirs}
    ids = {"END_ID": "end_id", "PAD_ID": "pad_id"}
    steps = (
        Step("preprocessing", {theirs: tensor.name for tensor, theirs in tensors.PROMPT} | ids, inner),
        Step(
            BACKEND,
            {theirs: inner[tensor.name] for tensor, theirs in tensors.PREPROCESSING} | asked,
            {"output_ids": "_TOKENS_BATCH", "sequence_length": "_SEQUENCE_LENGTH"}
            | {tensor.name: tensor.name for tensor in measured},
        ),
        Step(
            "postprocessing",
            {"TOKENS_BATCH": "_TOKENS_BATCH", "SEQUENCE_LENGTH": "_SEQUENCE_LENGTH"},
            {"OUTPUT": tensors.TEXT_OUTPUT.name},
        ),
    )
    return Model(
        "ensemble", "ensemble", batch(facts), _asked(()), (tensors.TEXT_OUTPUT, *measured), instances=0, steps=steps
    )


def _asked(more: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    prompt = tuple(tensor for tensor, _ in tensors.PROMPT)
    return (*prompt, *(tensor for tensor, _ in tensors.ASKED), *more)


def _bls(facts: EngineFacts, options: TritonOptions) -> Model:
    parameters = {"tensorrt_llm_model_name": BACKEND, "tokenizer_dir": TOKENIZER, "skip_special_tokens": "true"}
    # A batch with the engine and one that waits there, so that a place is taken at once; the others wait in Triton.
    parameters["threads"] = str(min(512, 2 * batch(facts)))
    if options.draft is not None:
        parameters["tensorrt_llm_draft_model_name"] = DRAFT
        parameters["num_draft_tokens"] = str(options.draft_tokens)
    return Model(
        BLS,
        "python",
        batch(facts),
        _asked(tensors.DRAFTING),
        (tensors.TEXT_OUTPUT, *tensors.measured_outputs(logits_type(facts))),
        parameters | _trusts(facts),
        instances=1,
        decoupled=options.decoupled,
    )


def _llmapi(options: TritonOptions) -> Model:
    """All settings stand in model.yaml; GPUs by index are chosen by launch.sh."""
    return Model(
        BACKEND,
        "python",
        0,
        tensors.LLMAPI_INPUTS,
        tensors.LLMAPI_OUTPUTS,
        instances=1,
        decoupled=options.decoupled,
    )
