"""The commands `workbench endpoint …`. Only typer is imported here: `--help` must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.help import App
from workbench.cli.options import JsonFlag

app = App(invoke_without_command=True)
NameArgument = Annotated[str, typer.Argument(help="Name of the endpoint.")]


@app.callback()
def endpoint(context: typer.Context, as_json: JsonFlag = False) -> None:
    """OpenAI-compatible servers (vLLM, trtllm-serve, Triton, NIM, llama.cpp ...): add, list, test, key, remove.

    An endpoint stands among the engines: chat, bench and compare take it by its name.

    \b
    Examples:
      workbench endpoint add box --url http://box:8000/v1 --model Qwen/Qwen2.5-7B-Instruct
      workbench endpoint test box
    """
    if context.invoked_subcommand is None:
        endpoint_list(as_json=as_json)


@app.command("add")
def endpoint_add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    url: Annotated[str, typer.Option("--url", help="Base URL, such as http://box:8000/v1.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model, as the server's model list names it.")],
    key_env: Annotated[
        str, typer.Option("--key-env", help="The environment variable that holds the API key: its name, no key.")
    ] = "",
    key_keyring: Annotated[
        bool, typer.Option("--key-keyring", help="The API key stands in the system's keyring; it is asked for now.")
    ] = False,
    no_key: Annotated[bool, typer.Option("--no-key", help="The server wants no key (the default).")] = False,
    api: Annotated[
        str,
        typer.Option("--api", help="What benchmarks use: chat, completions (for plain prompts), triton (generate)."),
    ] = "chat",
    server: Annotated[
        str,
        typer.Option("--server", help="auto asks it; vllm, trtllm, triton, nim, sglang, llamacpp, openai, workbench."),
    ] = "auto",
    metrics_url: Annotated[
        str,
        typer.Option("--metrics-url", help="Where its metrics are, or none; by default the usual places are tried."),
    ] = "",
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="PEM file of the certificate authorities to trust.")
    ] = None,
    verify_tls: Annotated[bool, typer.Option("--verify-tls/--no-verify-tls", help="Check the certificate.")] = True,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Model folder with the tokenizer that the server uses.")
    ] = None,
    max_seq_len: Annotated[
        int | None, typer.Option("--max-seq-len", help="Longest sequence, where the server does not report it.")
    ] = None,
    silence_s: Annotated[
        float, typer.Option("--silence", help="Longest wait for the next piece of an answer, in seconds.")
    ] = 120.0,
    as_json: JsonFlag = False,
) -> None:
    """Describe a server; nothing is sent to it. The key itself is never written to a file.

    \b
    Examples:
      workbench endpoint add box --url http://box:8000/v1 --model Qwen/Qwen2.5-7B-Instruct
      workbench endpoint add triton --url http://box:8000 --model tensorrt_llm_bls --api triton
      workbench endpoint add openai --url https://api.openai.com/v1 --model gpt-4.1-mini --key-env OPENAI_API_KEY
      workbench endpoint add nim --url https://nim.lab:8443/v1 --model meta/llama-3.1-8b-instruct --key-keyring \\
        --ca-file ~/lab-ca.pem
    """
    from workbench.cli.context import running
    from workbench.cli.endpoint import key_source, run_add

    with running(as_json) as context:
        fields = {
            "base_url": url,
            "model": model,
            "api": api,
            "server": server,
            "metrics_url": metrics_url,
            "verify_tls": verify_tls,
            "max_seq_len": max_seq_len,
            "silence_s": silence_s,
        }
        key = key_source(name, key_env, keyring=key_keyring, none=no_key)
        run_add(context, name, fields, key, ca_file, tokenizer)


@app.command("list")
def endpoint_list(as_json: JsonFlag = False) -> None:
    """List the endpoints.

    \b
    Example:
      workbench endpoint list
    """
    from workbench.cli.context import running
    from workbench.cli.endpoint import run_list

    with running(as_json) as context:
        run_list(context)


@app.command("test")
def endpoint_test(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Try a server: models, metrics, a short answer by chat and by completions, counting; says each thing tried.

    \b
    Example:
      workbench endpoint test box
    """
    from workbench.cli.context import running
    from workbench.cli.endpoint_trial import run_test

    with running(as_json) as context:
        run_test(context, name)


@app.command("key")
def endpoint_key(
    name: NameArgument,
    forget: Annotated[bool, typer.Option("--forget", help="Take it out of the keyring.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Store an endpoint's API key in the system's keyring: asked for without showing it, or read from a pipe.

    \b
    Examples:
      workbench endpoint key box
      pass show box | workbench endpoint key box
      workbench endpoint key box --forget
    """
    from workbench.cli.context import running
    from workbench.cli.endpoint import run_key

    with running(as_json) as context:
        run_key(context, name, forget=forget)


@app.command("remove")
def endpoint_remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Forget a server, and take its key out of the keyring. The server itself is not touched.

    \b
    Example:
      workbench endpoint remove box --yes
    """
    from workbench.cli.context import running
    from workbench.cli.endpoint import run_remove

    with running(as_json) as context:
        run_remove(context, name, yes=yes)
