"""The README of a Triton export: what is in it, how it is run, watched and loaded."""

from __future__ import annotations

from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.triton.launching import streaming_model, url, uses_mpi
from workbench.core.deploy.triton.models import BLS
from workbench.core.deploy.triton.options import ROOT, TritonOptions
from workbench.core.deploy.triton.versions import Container


def readme(facts: EngineFacts, options: TritonOptions, image: str, row: Container | None) -> str:
    gpu = facts.gpu_built_for
    built = f", built on {gpu.name} (compute capability {gpu.compute_capability})" if gpu else ""
    gpus = f"{facts.world_size} GPU{'s' * (facts.world_size > 1)}"
    model, where = streaming_model(options), url(options)
    if options.form == "llmapi":
        ask = '{"text_input": "Hello", "sampling_param_max_tokens": 32, "streaming": true}'
    else:
        ask = '{"text_input": "Hello", "max_tokens": 32, "stream": true}'
    driver = f"; it was made with driver {row.driver}" if row else ""
    return "\n".join(
        [
            f"# {facts.name} behind Triton",
            "",
            f"An engine of TensorRT-LLM {facts.toolchain_version}: {facts.precision or 'precision not reported'}, "
            f"{facts.shape}, {gpus}{built}.",
            f"Container: `{image or 'none chosen'}`{driver}. An engine loads in the version that built it, "
            "on the kind of GPU it was built on, and nowhere else; `launch.sh` checks both.",
            "",
            "| limit of the engine | |",
            "| --- | --- |",
            *(f"| {name} | {'not reported' if value is None else f'{value:,}'} |" for name, value in _limits(facts)),
            "",
            "## Run",
            "",
            "```",
            "docker compose up --detach --wait",
            "python3 smoke_test.py",
            f"curl -N {where}/v2/models/{model}/generate_stream -d '{ask}'",
            "```",
            "",
            f"Ports {options.http_port} (HTTP), {options.grpc_port} (gRPC) and {options.metrics_port} (metrics) are "
            f"published on {options.host}. Triton asks for no key: put a proxy that does in front of it before "
            "it is reached from elsewhere.",
            "`sha256sum -c SHA256SUMS` checks all files.",
            "",
            *_mpi(facts, options),
            "## Models",
            "",
            *_models(options),
            "",
            *_prompts(options),
            "## Watch",
            "",
            "`monitoring/prometheus.yml` scrapes the metrics and loads `monitoring/alerts.yml`; import "
            "`monitoring/grafana-dashboard.json` into Grafana and choose the data source.",
            *_baseline(options),
            "",
            "## Load test",
            "",
            "```",
            f"workbench endpoint add triton --url {where} --model {model} --api triton",
            "workbench bench triton",
            f"./aiperf.sh {where}",
            "```",
            "",
        ]
    )


def _limits(facts: EngineFacts) -> tuple[tuple[str, int | None], ...]:
    names = ("max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width")
    return tuple((name, getattr(facts, name)) for name in names)


def _mpi(facts: EngineFacts, options: TritonOptions) -> list[str]:
    if not uses_mpi(facts, options):
        return []
    words = [
        f"`launch.sh` starts {facts.world_size} servers with mpirun, one a GPU: the first has all models and ports, "
        "the others the engine alone."
    ]
    if options.nodes > 1:
        words.append(
            f"On {options.nodes} nodes: this folder must be seen as `{ROOT}` on each, in the same container; set "
            "MPI_HOSTFILE to a host file with "
            f"{facts.world_size // options.nodes} slots a node and run `launch.sh` on the first."
        )
    return ["## Several GPUs", "", *words, ""]


def _models(options: TritonOptions) -> list[str]:
    if options.form == "llmapi":
        return [
            "`tensorrt_llm`: Python, TensorRT-LLM's LLM class for engines; settings in `1/model.yaml`. The container's "
            "own `llmapi` model has the same tensors but runs PyTorch models only."
        ]
    lines = [
        "`preprocessing` (tokens, limits) -> `tensorrt_llm` (the engine, C++) -> `postprocessing` (text); `ensemble` "
        "joins them.",
        f"`{BLS}` does the same in one model. Stream through it: it puts the text together over all pieces, so that no "
        "character is cut and stop words are found across tokens, and stops the engine when the client goes.",
    ]
    if options.draft is not None:
        lines.append(
            f"`{BLS}` drafts {options.draft_tokens} tokens ahead with `tensorrt_llm_draft` ({options.draft.name}); "
            "`num_draft_tokens` of a request changes that, 0 switches it off."
        )
    return lines


def _prompts(options: TritonOptions) -> list[str]:
    words = ["The prompt is taken as it stands: for chat, apply the tokenizer's chat template before you send it."]
    if options.form == "ensemble":
        words += [
            "A first token that the template has written is not added twice.",
            "An answer ends at every token that generation_config.json names as an end; with `end_id` in the request, "
            "at that one alone.",
            "`end_id` -1 lets an answer run to `max_tokens`. The text of `ensemble` ends with the stop word that ended "
            "it; `tensorrt_llm_bls` takes it away.",
        ]
    return ["## Prompts", "", *words, ""]


def _baseline(options: TritonOptions) -> list[str]:
    base = options.baseline
    if base is None:
        return ["No benchmark was given as a baseline: the alert on throughput is left out."]
    return [f"Baseline: run {base.run}, {base.output_tok_s:,.1f} tok/s."]
