"""What the store holds, and what is wrong with it: jobs that were interrupted, artefacts that lost files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.core.job import JobState
from workbench.store.store import Store


def store_report(store: Store, jobs: Sequence[JobState]) -> dict[str, Any]:
    """The store after a sync; `jobs` are the states of all jobs as they really are."""
    counts = store.sync()
    found = store.artifacts()
    return {
        "notice": store.notice,
        "newer": store.newer.model_dump() if store.newer is not None else None,
        "jobs": len(jobs),
        "interrupted_jobs": [state.id for state in jobs if state.status == "interrupted"],
        "artifacts": len(found),
        "incomplete_artifacts": [str(each.path) for each in found if each.missing and each.path.is_dir()],
        "newly_found": counts,
    }


def store_problems(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each with its fix: `what`, `fix`."""
    jobs = [
        {"what": f"Job {job} was interrupted.", "fix": f"workbench jobs retry {job}"}
        for job in report["interrupted_jobs"]
    ]
    lost = [
        {"what": f"{path} lost files.", "fix": f"workbench engines rm {path} --yes, then build it again"}
        for path in report["incomplete_artifacts"]
    ]
    newer = [{"what": report["newer"]["what"], "fix": report["newer"]["fix"]}] if report.get("newer") else []
    return newer + jobs + lost
