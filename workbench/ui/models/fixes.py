"""Tries again with another value: which values a failed job offers, and the new job. Never on the GUI thread."""

from __future__ import annotations

from workbench.core.errors import WorkbenchError
from workbench.core.failure_fixes import FailureFix, failure_fixes
from workbench.core.home import Home
from workbench.core.host import HostSpec
from workbench.core.preset import preset_from_data
from workbench.jobs import client
from workbench.jobs.folder import JobFolder
from workbench.store.store import Store
from workbench.toolchains.again import plan_again
from workbench.toolchains.planner import Digests


def fixes_of(folder: JobFolder) -> tuple[FailureFix, ...]:
    """What may be changed so that the job does not fail again; empty for one that was not made from a preset."""
    try:
        plan, state = folder.plan(), folder.state()
        if state.failure is None or not plan.preset or plan.model is None:
            return ()
        kinds = {step.id: step.kind for step in plan.steps}
        failed = next((step.id for step in state.steps if step.status == "failed"), "")
        preset = preset_from_data(plan.preset, name=plan.title)
    except WorkbenchError:
        return ()  # a job of another version: Retry is still there
    return failure_fixes(state.failure, kinds.get(failed, ""), preset)


def start_again(home: Home, host: HostSpec, folder: JobFolder, overrides: tuple[str, ...]) -> str:
    """Plan the job again with `overrides` and start it; the new job's id. Raises BadInputError, BlockedError."""
    with Store.open(home.make()) as store:
        store.refuse_newer()
        store.sync()
        plan = plan_again(
            folder.plan(),
            overrides,
            home=home,
            host=host,
            digests=Digests(store.known_digest, store.remember_digest),
            paths_with_key=store.paths_with_key,
        )
    return client.start(home, plan).id
