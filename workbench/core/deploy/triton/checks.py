"""What is looked at before a Triton export is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.core.deploy.checks import gpu_checks, ranks_check, tokenizer_check
from workbench.core.deploy.export import Check
from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.triton.models import BLS
from workbench.core.deploy.triton.options import TritonOptions
from workbench.core.deploy.triton.parameters import (
    DECODING_MODES,
    KNOWN,
    NEEDED,
    SHAPES,
    lookahead_sizes,
)
from workbench.core.deploy.triton.pbtxt import Model
from workbench.core.deploy.triton.versions import Container, container_for, container_of, containers
from workbench.core.gpu import find_gpu
from workbench.core.speculative import lookahead_draft_len, tokenizer_problem

MADE: Mapping[str, frozenset[str]] = {
    "preprocessing": frozenset(
        {"tokenizer_dir", "add_special_tokens", "max_seq_len", "max_input_len", "vocab_size", "trust_remote_code"}
    ),
    "postprocessing": frozenset({"tokenizer_dir", "skip_special_tokens", "trust_remote_code"}),
    BLS: frozenset(
        {
            *("tensorrt_llm_model_name", "tensorrt_llm_draft_model_name", "num_draft_tokens", "tokenizer_dir"),
            *("skip_special_tokens", "threads", "trust_remote_code"),
        }
    ),
    "ensemble": frozenset(),
}
"""Parameters that our own models read."""


def chosen_container(facts: EngineFacts, options: TritonOptions) -> Container | None:
    return container_of(options.container) if options.container else container_for(facts.toolchain_version)


def engine_checks(facts: EngineFacts, options: TritonOptions) -> list[Check]:
    """Of the engine, the machine and the container. Raises BadInputError for a GPU that is not known."""
    kind = find_gpu(options.gpu) if options.gpu else None
    found = [ranks_check(facts), _gpus(facts, options), *gpu_checks(facts, kind, None)]
    found += [tokenizer_check(facts, options.tokenizer), _container(facts, options)]
    found += _limits(facts)
    if facts.speculative is not None or options.lookahead is not None:
        found.append(_speculative(facts, options))
    if options.draft is not None:
        found += _draft(facts, options.draft, options)
    if options.form == "llmapi" and (options.nodes > 1 or facts.speculative is not None):
        found.append(_python_form(facts, options))
    return found


def _python_form(facts: EngineFacts, options: TritonOptions) -> Check:
    wants = [f"{options.nodes} nodes"] if options.nodes > 1 else []
    wants += [facts.speculative.mode] if facts.speculative is not None else []
    return Check(
        "the form can run it",
        False,
        f"llmapi for {' and '.join(wants)}: it starts its ranks on one node and hands over no decoding mode",
        "Take --form ensemble.",
    )


def _gpus(facts: EngineFacts, options: TritonOptions) -> Check:
    name = f"{facts.world_size} GPU{'s' * (facts.world_size > 1)} for {facts.shape}"
    if options.gpu_ids and len(options.gpu_ids) * options.nodes != facts.world_size:
        told = ", ".join(map(str, options.gpu_ids)) + (f" on each of {options.nodes} nodes" * (options.nodes > 1))
        return Check(
            name,
            False,
            f"{len(options.gpu_ids)} named: {told}",
            f"Name {facts.world_size}, or none for the first ones.",
        )
    if facts.world_size % options.nodes:
        return Check(
            name, False, f"{facts.world_size} ranks over {options.nodes} nodes", "Choose a number that divides them."
        )
    if options.gpus_here is None:
        # Only that the ranks can be laid out: nobody has seen that machine's GPUs yet.
        each = facts.world_size // options.nodes
        many = f"{options.nodes} machine{'s' * (options.nodes > 1)}"
        return Check(
            f"{facts.shape} divides over {many}",
            True,
            f"{each} GPU{'s' * (each > 1)} on each; launch.sh counts those that are there",
        )
    enough = options.gpus_here * options.nodes >= facts.world_size
    return Check(
        name,
        enough,
        f"{options.gpus_here} there",
        f"Take a machine with {facts.world_size} GPUs, or an engine built for fewer.",
    )


def _container(facts: EngineFacts, options: TritonOptions) -> Check:
    name = f"a container for TensorRT-LLM {facts.toolchain_version}"
    row = chosen_container(facts, options)
    if options.container and row is None:
        return Check(
            name,
            False,
            f"{options.container} is not in the table of {len(containers())} containers",
            f"launch.sh checks that it has TensorRT-LLM {facts.toolchain_version}.",
            blocks=False,
        )
    if row is None:
        held = ", ".join(sorted({known.tensorrt_llm for known in containers()}, reverse=True))
        return Check(
            name,
            False,
            f"the table has containers of {held}",
            "Build the engine with one of these versions, or give --container with an image that has its version.",
        )
    return Check(
        name,
        row.tensorrt_llm == facts.toolchain_version,
        f"{row.image}: TensorRT-LLM {row.tensorrt_llm}, TensorRT {row.tensorrt}, CUDA {row.cuda}",
        "An engine loads in the version that built it: leave --container out, or build the engine again.",
    )


def _limits(facts: EngineFacts) -> list[Check]:
    lacking = [name for name in ("max_batch_size", "max_seq_len", "vocab_size") if not getattr(facts, name)]
    told = f"batch {facts.max_batch_size}, sequence {facts.max_seq_len}, beam width {facts.max_beam_width or 1}"
    return [
        Check(
            "the engine's limits are known",
            not lacking,
            f"config.json lacks {', '.join(lacking)}" if lacking else told,
            "Build the engine again.",
        )
    ]


def _speculative(facts: EngineFacts, options: TritonOptions) -> Check:
    name = "decoding mode fits the engine"
    if facts.speculative is None:
        return Check(name, False, "built without a speculative mode", "Leave --lookahead out, or build it for one.")
    mode, most = facts.speculative.mode, facts.speculative.max_draft_len
    if mode == "draft_tokens_external":
        return Check(
            name,
            options.draft is not None,
            f"{mode}, up to {most} draft tokens; " + ("drafts by BLS" if options.draft else "no draft engine given"),
            "Give --draft with the engine that drafts; without it the engine runs as if it had no such mode.",
            blocks=False,
        )
    if mode not in DECODING_MODES:
        return Check(name, False, mode, "The backend knows Medusa, lookahead, ReDrafter, EAGLE and draft tokens.")
    if mode == "lookahead_decoding":
        sizes = lookahead_sizes(facts, options)
        needed = lookahead_draft_len(*sizes) if sizes else 0
        told = f"{mode}: sizes {sizes} need {needed} draft tokens, the engine holds {most}" if sizes else mode
        fits = sizes is not None and min(sizes) >= 1 and 0 < needed <= most
        return Check(name, fits, told, "Give --lookahead with sizes that fit max_draft_len.")
    return Check(name, True, f"{mode}, up to {most} draft tokens")


def _draft(facts: EngineFacts, draft: EngineFacts, options: TritonOptions) -> list[Check]:
    most = facts.speculative.max_draft_len if facts.speculative else 0
    external = facts.speculative is not None and facts.speculative.mode == "draft_tokens_external"
    here, there = facts.tokenizer, draft.tokenizer
    other = tokenizer_problem(here, there) if here is not None and there is not None else ""
    return [
        Check(
            "the target takes draft tokens",
            external and options.draft_tokens <= most,
            f"{facts.speculative.mode}, up to {most}" if facts.speculative else "built without a speculative mode",
            f"Build it for draft_tokens_external with max_draft_len {options.draft_tokens} or more.",
        ),
        Check(
            "draft and target share the vocabulary",
            draft.vocab_size == facts.vocab_size and not other,
            f"{draft.vocab_size} and {facts.vocab_size} tokens" + (f", and {other}" if other else ""),
            "Draft with a model of the same family.",
        ),
        Check(
            "draft and target are of one TensorRT-LLM version",
            draft.toolchain_version == facts.toolchain_version,
            f"{draft.toolchain_version} and {facts.toolchain_version}",
            "Build both with the same version.",
        ),
        Check(
            "all ranks of the draft engine are there",
            not draft.ranks_missing and draft.world_size == 1,
            f"{len(draft.ranks_present)} of {draft.world_size} rank files",
            "Draft with an engine for one GPU.",
        ),
        Check(
            "the form can draft",
            options.form == "ensemble" and facts.world_size == 1,
            f"{options.form}, {facts.world_size} GPU{'s' * (facts.world_size > 1)}",
            "Drafting is done by BLS of the ensemble form, with a target for one GPU.",
        ),
    ]


def repository_checks(models: Sequence[Model], texts: Mapping[str, str]) -> list[Check]:
    """Each config.pbtxt parsed by Triton's own schema; names and types of an ensemble's tensors at both ends.

    `texts`: name of a model -> its config.pbtxt.
    """
    found: list[Check] = []
    for model in models:
        found.append(_parsed(model, texts[model.name]))
        found.append(_parameters(model))
    ensembles = [model for model in models if model.steps]
    return found + [_linked(model, {other.name: other for other in models}) for model in ensembles]


def _parsed(model: Model, text: str) -> Check:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    name = f"config.pbtxt of {model.name} parses"
    if "${" in text:
        return Check(name, False, "a placeholder is left in it", "This is a fault of the export; report it.")
    try:
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        return Check(name, False, str(error).splitlines()[0][:200], "This is a fault of the export; report it.")
    same = (
        config.name == model.name
        and config.max_batch_size == model.max_batch_size
        and [tensor.name for tensor in config.input] == [tensor.name for tensor in model.inputs]
        and [tensor.name for tensor in config.output] == [tensor.name for tensor in model.outputs]
        and {key: value.string_value for key, value in config.parameters.items()} == dict(model.parameters)
    )
    told = f"{len(config.input)} inputs, {len(config.output)} outputs, {len(config.parameters)} parameters"
    return Check(name, same, told, "This is a fault of the export; report it.")


def _parameters(model: Model) -> Check:
    """Every parameter is one that its backend reads, in a form that it reads."""
    name = f"parameters of {model.name} are known"
    known = KNOWN if model.backend == "tensorrtllm" else MADE.get(model.name, frozenset())
    strange = [key for key in model.parameters if key not in known]
    strange += [
        f"{key} = {value}"
        for key, value in model.parameters.items()
        if model.backend == "tensorrtllm" and key in SHAPES and not SHAPES[key](value)
    ]
    if model.backend == "tensorrtllm":
        strange += [f"{key} is missing" for key in NEEDED if key not in model.parameters]
    told = f"{len(model.parameters)} set" if not strange else ", ".join(strange)[:200]
    return Check(name, not strange, told, "This is a fault of the export; report it.")


def _linked(ensemble: Model, models: Mapping[str, Model]) -> Check:
    """Every tensor of a step is there at both ends and of one type, and every one that is needed is fed."""
    types = {tensor.name: tensor.dtype for tensor in ensemble.inputs}
    wrong: list[str] = []
    for step in ensemble.steps:
        model = models.get(step.model)
        if model is None:
            wrong.append(f"no model {step.model}")
            continue
        takes, gives = ({tensor.name: tensor for tensor in side} for side in (model.inputs, model.outputs))
        for key, value in step.inputs.items():
            if key not in takes:
                wrong.append(f"{step.model} has no input {key}")
            elif value not in types:
                wrong.append(f"nothing makes {value} for {step.model}")
            elif types[value] != takes[key].dtype:
                wrong.append(f"{value} is {types[value]}, {key} of {step.model} is {takes[key].dtype}")
        wrong += [
            f"{key} of {step.model} is not fed"
            for key, tensor in takes.items()
            if not tensor.optional and key not in step.inputs
        ]
        for key, value in step.outputs.items():
            if key not in gives:
                wrong.append(f"{step.model} has no output {key}")
            else:
                types[value] = gives[key].dtype
    ends = {tensor.name: tensor.dtype for tensor in ensemble.outputs}
    wrong += [f"output {name} is not made" for name, dtype in ends.items() if types.get(name) != dtype]
    return Check(
        f"tensors of {ensemble.name} fit together",
        not wrong,
        "; ".join(wrong[:4]) if wrong else f"{len(ensemble.steps)} steps, {len(types)} tensors",
        "This is a fault of the export; report it.",
    )
