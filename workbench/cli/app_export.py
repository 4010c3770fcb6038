"""The commands `workbench export …`. Only typer is imported here: `--help` must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.help import App
from workbench.cli.options import JsonFlag

app = App(no_args_is_help=True)
EngineArgument = Annotated[str, typer.Argument(help="Engine: name, path, precision, or last.")]
OutOption = Annotated[Path, typer.Option("--out", help="New folder; one that exists is never written into.")]
CheckFlag = Annotated[bool, typer.Option("--check", help="Only say what would be written and what was checked.")]
LinkFlag = Annotated[
    bool, typer.Option("--link", help="Hard links instead of copies of large files, on the same disk.")
]


@app.callback()
def export() -> None:
    """Write what runs an engine elsewhere: a Triton model repository, or a launch folder.

    \b
    Examples:
      workbench export triton llama-fp8 --out ~/deploy/llama-triton
      workbench export launch last --out ~/deploy/demo
    """


@app.command("triton")
def export_triton(
    engine: EngineArgument,
    out: OutOption,
    form: Annotated[
        str, typer.Option("--form", help="ensemble (C++ backend, five models) or llmapi (one model, Python).")
    ] = "ensemble",
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder with the tokenizer, where the engine's own is not right.")
    ] = None,
    decoupled: Annotated[bool, typer.Option("--decoupled/--no-decoupled", help="Allow streaming.")] = True,
    copy: Annotated[bool, typer.Option("--copy/--mount", help="Copy the engine, or mount it from where it is.")] = True,
    kv_fraction: Annotated[
        float, typer.Option("--kv-fraction", help="Share of the free GPU memory for the KV cache.")
    ] = 0.9,
    kv_host_bytes: Annotated[int, typer.Option("--kv-host-bytes", help="Host memory for KV blocks.")] = 0,
    kv_reuse: Annotated[bool, typer.Option("--kv-reuse/--no-kv-reuse", help="Reuse KV blocks, where it can.")] = True,
    chunked_context: Annotated[
        bool, typer.Option("--chunked-context/--no-chunked-context", help="Long prompts in pieces, where it can.")
    ] = True,
    scheduler: Annotated[
        str, typer.Option("--scheduler", help="guaranteed_no_evict or max_utilization.")
    ] = "guaranteed_no_evict",
    max_queue_delay_us: Annotated[
        int, typer.Option("--max-queue-delay-us", help="How long the batcher waits for more requests.")
    ] = 0,
    max_queue_size: Annotated[
        int, typer.Option("--max-queue-size", help="Requests that may wait; 0: as many as come.")
    ] = 0,
    instances: Annotated[
        int | None, typer.Option("--instances", help="Of preprocessing and postprocessing.", show_default="up to 4")
    ] = None,
    gpu_ids: Annotated[str, typer.Option("--gpu-ids", help="GPUs by index, such as 0,1.")] = "",
    gpu: Annotated[
        str, typer.Option("--gpu", help="The kind of GPU that it goes to, such as H100; by default launch.sh looks.")
    ] = "",
    gpus: Annotated[int | None, typer.Option("--gpus", help="How many GPUs the machine that it goes to has.")] = None,
    nodes: Annotated[int, typer.Option("--nodes", help="Machines that it runs on.")] = 1,
    draft: Annotated[str, typer.Option("--draft", help="Engine that drafts for this one (draft-target).")] = "",
    draft_tokens: Annotated[int, typer.Option("--draft-tokens", help="Tokens that are drafted ahead.")] = 5,
    lookahead: Annotated[
        str, typer.Option("--lookahead", help="Window, n-gram, verification set size, such as 7,7,7.")
    ] = "",
    choices: Annotated[str, typer.Option("--choices", help="Tree of Medusa or EAGLE: [[0], [0, 0], [1]].")] = "",
    host: Annotated[str, typer.Option("--host", help="Address that the ports are published on.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option("--http-port")] = 8000,
    grpc_port: Annotated[int, typer.Option("--grpc-port")] = 8001,
    metrics_port: Annotated[int, typer.Option("--metrics-port")] = 8002,
    container: Annotated[
        str, typer.Option("--container", help="Image; by default the table's for the engine's version.")
    ] = "",
    baseline: Annotated[
        str, typer.Option("--baseline", help="Run of this engine that the alerts compare with (id, folder, last).")
    ] = "",
    link: LinkFlag = False,
    check: CheckFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a Triton model repository for a TensorRT-LLM engine, with launch script, smoke test and monitoring.

    Every config.pbtxt is parsed back with Triton's own schema before anything is written.

    \b
    Examples:
      workbench export triton llama-fp8 --out ~/deploy/llama-triton
      workbench export triton llama-fp8-tp2 --out ~/deploy/llama-tp2 --gpu-ids 0,1 --baseline last
      workbench export triton ./engine --out ./repo --form llmapi --check
    """
    from workbench.cli.context import running
    from workbench.cli.export import numbers, run_triton

    with running(as_json) as context:
        fields = {
            "form": form,
            "tokenizer": tokenizer,
            "copy_engine": copy,
            "decoupled": decoupled,
            "max_queue_delay_us": max_queue_delay_us,
            "max_queue_size": max_queue_size,
            "instances": instances,
            "kv_fraction": kv_fraction,
            "kv_host_bytes": kv_host_bytes,
            "kv_reuse": kv_reuse,
            "chunked_context": chunked_context,
            "scheduler": scheduler,
            "gpu_ids": numbers("--gpu-ids", gpu_ids),
            "gpu": gpu,
            "gpus_here": gpus,
            "nodes": nodes,
            "draft_tokens": draft_tokens,
            "lookahead": numbers("--lookahead", lookahead, 3) or None,
            "choices": choices,
            "host": host,
            "http_port": http_port,
            "grpc_port": grpc_port,
            "metrics_port": metrics_port,
            "container": container,
        }
        run_triton(context, engine, out, fields, draft, baseline, link=link, check=check)


@app.command("launch")
def export_launch(
    engine: EngineArgument,
    out: OutOption,
    model: Annotated[
        str, typer.Option("--model", help="Model name that clients send; by default made of the engine's.")
    ] = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it listens, on loopback.")] = 8000,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder with the tokenizer, where the engine's own is not right.")
    ] = None,
    gpu: Annotated[
        str, typer.Option("--gpu", help="Kind of GPU there, such as H100: checked against the engine's.")
    ] = "",
    gpus_per_node: Annotated[
        int | None,
        typer.Option("--gpus-per-node", min=1, max=1024, help="GPUs of a machine there.", show_default="up to 8"),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", min=1, max=10_000, help="Machines there.", show_default="as many as it takes"),
    ] = None,
    hosts: Annotated[str, typer.Option("--hosts", help="Their names, for MPI's hostfile: node1,node2.")] = "",
    image: Annotated[
        str, typer.Option("--image", help="Container image; by default the release of the engine's version.")
    ] = "",
    partition: Annotated[str, typer.Option("--partition", help="Slurm partition.")] = "",
    account: Annotated[str, typer.Option("--account", help="Slurm account.")] = "",
    time_limit: Annotated[str, typer.Option("--time", help="Slurm time limit, such as 4:00:00.")] = "",
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="A runtime setting: runtime.kv_fraction=0.8. May be repeated."),
    ] = [],  # noqa: B006
    link: LinkFlag = False,
    check: CheckFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write one folder that runs an engine elsewhere: scripts that check the machine, compose file, README, checksums.

    TensorRT-LLM engines get trtllm-serve, with a Slurm script and an MPI hostfile where they take several GPUs; others
    the workbench's own server.

    \b
    Examples:
      workbench export launch last --out ~/deploy/demo
      workbench export launch llama-70b-fp8-tp8 --out /shared/llama --gpu H100 --gpus-per-node 4 --hosts node1,node2
      workbench export launch llama-fp8 --out ./llama --set runtime.kv_fraction=0.8 --check
    """
    from workbench.cli.context import running
    from workbench.cli.export_launch import run_launch
    from workbench.core.deploy.slurm import SlurmOptions

    with running(as_json) as context:
        fields = {
            "model": model,
            "port": port,
            "tokenizer": tokenizer,
            "gpu": gpu,
            "gpus_per_node": gpus_per_node,
            "nodes": nodes,
            "hosts": hosts,
            "image": image,
        }
        slurm = SlurmOptions(partition, account, time_limit)
        run_launch(context, engine, out, fields, slurm, overrides, link=link, check=check)
