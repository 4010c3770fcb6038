"""What starts and tries the repository: launch.sh, compose.yaml, smoke_test.py, aiperf.sh."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from workbench.core.data import resource
from workbench.core.deploy.export import TextFile
from workbench.core.deploy.facts import EngineFacts
from workbench.core.deploy.triton.models import BACKEND, BLS, batch
from workbench.core.deploy.triton.options import ROOT, TritonOptions
from workbench.core.deploy.triton.pbtxt import Model

_SHELL_MARK, _JSON_MARK = "#@SETTINGS@", "@SETTINGS@"


def launch_files(
    facts: EngineFacts, options: TritonOptions, image: str, models: tuple[Model, ...]
) -> tuple[TextFile, ...]:
    return (
        TextFile("launch.sh", _launch(facts, options, image), executable=True),
        TextFile("compose.yaml", compose(facts, options, image)),
        TextFile("smoke_test.py", _smoke(options, models), executable=True),
        TextFile("aiperf.sh", _aiperf(facts, options), executable=True),
        # In a file: AIPerf takes a template on its command line apart at the commas.
        TextFile("aiperf-payload.jinja", _payload(options)),
    )


def streaming_model(options: TritonOptions) -> str:
    """The model that streams text whole characters at a time."""
    return BACKEND if options.form == "llmapi" else BLS


def url(options: TritonOptions) -> str:
    """As it is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{options.http_port}"


def uses_mpi(facts: EngineFacts, options: TritonOptions) -> bool:
    """Whether a server a rank is started. The LLM class starts its ranks itself, on one node."""
    return options.form == "ensemble" and facts.world_size > 1


def _launch(facts: EngineFacts, options: TritonOptions, image: str) -> str:
    gpu = facts.gpu_built_for
    return _with_settings(
        "launch.sh",
        {
            "ROOT": ROOT,
            "IMAGE": image,
            "TENSORRT_LLM": facts.toolchain_version,
            "FORM": options.form,
            "WORLD_SIZE": str(facts.world_size),
            "NODES": str(options.nodes),
            "USES_MPI": "1" if uses_mpi(facts, options) else "0",
            "GPU_IDS": " ".join(map(str, options.gpu_ids)),
            "COMPUTE_CAPABILITY": gpu.compute_capability if gpu else "",
            "BUILT_FOR": gpu.name if gpu else "",
            "DEFAULT_HTTP_PORT": str(options.http_port),
            "DEFAULT_GRPC_PORT": str(options.grpc_port),
            "DEFAULT_METRICS_PORT": str(options.metrics_port),
        },
    )


def _aiperf(facts: EngineFacts, options: TritonOptions) -> str:
    room = facts.max_seq_len or 1024
    return _with_settings(
        "aiperf.sh",
        {
            "MODEL": streaming_model(options),
            "URL": url(options),
            "INPUT_TOKENS": str(max(1, min(512, room // 2))),
            "OUTPUT_TOKENS": str(max(1, min(128, room // 4))),
            "CONCURRENCY": str(min(16, batch(facts))),
        },
    )


def _payload(options: TritonOptions) -> str:
    if options.form == "llmapi":
        fields = '"sampling_param_max_tokens": {{ max_tokens|tojson }}, "streaming": true'
    else:
        # Without an end id answers are as long as they are asked to be.
        fields = '"max_tokens": {{ max_tokens|tojson }}, "end_id": -1, "stream": true'
    return '{"text_input": {{ text|tojson }}, ' + fields + "}\n"


def _with_settings(name: str, settings: Mapping[str, str]) -> str:
    body = resource(f"deploy/triton/{name}").read_text("utf-8")
    lines = "\n".join(f"{key}={shlex.quote(value)}" for key, value in settings.items())
    return body.replace(_SHELL_MARK, lines, 1)


def _smoke(options: TritonOptions, models: tuple[Model, ...]) -> str:
    names = [model.name for model in models]
    settings = {
        "form": options.form,
        "url": url(options),
        "metrics": url(options).rpartition(":")[0] + f":{options.metrics_port}/metrics",
        "models": names,
        "ask": [name for name in ("ensemble", BLS) if name in names] or [BACKEND],
        "stream": streaming_model(options),
        "decoupled": options.decoupled,
    }
    # Inside a raw string of three quotes: JSON of names and addresses has neither a backslash nor three quotes.
    return resource("deploy/triton/smoke_test.py").read_text("utf-8").replace(_JSON_MARK, json.dumps(settings), 1)


def compose(facts: EngineFacts, options: TritonOptions, image: str) -> str:
    """compose.yaml: ports on the address that was asked for, this folder read-only, the GPUs that are needed."""
    # With GPUs by index all are shown, since the container would number those that it sees anew.
    gpus = "count: all" if options.gpu_ids else f"count: {facts.world_size // options.nodes}"
    host = f"[{options.host}]" if ":" in options.host else options.host
    ports = (options.http_port, options.grpc_port, options.metrics_port)
    published = "\n".join(f"      - {json.dumps(f'{host}:{port}:{port}')}" for port in ports)
    mounts = [("bind", ".", ROOT)]
    if not options.copy_engine:
        mounts.append(("bind", str(facts.path), f"{ROOT}/engine"))
        if options.draft is not None:
            mounts.append(("bind", str(options.draft.path), f"{ROOT}/draft_engine"))
    volumes = "\n".join(
        f"      - type: {kind}\n        source: {_yaml(source)}\n        target: {target}\n        read_only: true"
        for kind, source, target in mounts
    )
    return f"""\
# docker compose up; then python3 smoke_test.py
services:
  triton:
    image: {_yaml(image)}
    command: ["{ROOT}/launch.sh"]
    init: true
    environment:
      # Inside the container all addresses: outside only those of `ports` below.
      TRITON_ADDRESS: "0.0.0.0"
    ports:
{published}
    volumes:
{volumes}
    cap_drop: [ALL]
    # Reads files of this folder that only their owner may.
    cap_add: [DAC_OVERRIDE]
    security_opt: ["no-new-privileges:true"]
    shm_size: {max(2, 2 * facts.world_size)}gb
    ulimits:
      memlock: -1
      stack: 67108864
    healthcheck:
      # launch.sh needs python3, so it is there; a proxy of the environment is not asked.
      test: {json.dumps(["CMD", "python3", "-c", _health(options)])}
      interval: 10s
      timeout: 5s
      start_period: 15m
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              {gpus}
              capabilities: [gpu]
"""


def _health(options: TritonOptions) -> str:
    place = f"http://127.0.0.1:{options.http_port}/v2/health/ready"
    return f"from urllib.request import *; build_opener(ProxyHandler({{}})).open({place!r}, timeout=4)"


def _yaml(text: str) -> str:
    """A string in YAML's double quotes; `$` doubled, since compose fills in variables."""
    return json.dumps(text.replace("$", "$$"))
