"""Slurm's states, reasons and refusals in words: what happened, what shows it, what to do."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.core.errors import Failure
from workbench.core.units import format_duration

_REASONS: Mapping[str, str] = {
    "Priority": "jobs of higher priority come first",
    "Resources": "it waits for free nodes, cores or GPUs",
    "Dependency": "it waits for another job",
    "BeginTime": "its time has not come",
    "Licenses": "it waits for a licence",
    "ReqNodeNotAvail": "the nodes it asks for are down, drained or reserved",
    "Reservation": "it waits for its reservation",
}
_NEVER: Mapping[str, str] = {
    "PartitionTimeLimit": "it asks for more time than the partition allows: shorten the target's time limit",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows",
    "PartitionConfig": "no node of the partition has what it asks for: mend the target's options",
    "BadConstraints": "no node has what it asks for: mend the target's options",
    "PartitionDown": "the partition is down: choose another one for the target, or wait for its administrator",
    "PartitionInactive": "the partition takes no jobs now: choose another one for the target",
    "AccountNotAllowed": "the account may not use this partition: set the target's account",
    "InvalidAccount": "there is no such account: set the target's account",
    "InvalidQOS": "there is no such QOS: mend the target's options",
    "JobHeldUser": "it is held: `scontrol release` lets it go",
    "JobHeldAdmin": "an administrator holds it: ask them",
}
"""Reasons that waiting does not mend."""
_REFUSALS: tuple[tuple[str, str, str, str], ...] = (
    ("invalid partition", "no-partition", "Slurm has no such partition.", "`sinfo -s` there lists them."),
    ("invalid account", "no-account", "Slurm refuses the account.", "`sacctmgr show assoc` there lists yours."),
    (
        "invalid generic resource",
        "no-gpus-there",
        "Slurm has no GPUs of that kind to give.",
        "Choose a partition with GPUs; `sinfo -o '%P %G'` there lists them.",
    ),
    (
        "time limit",
        "bad-time-limit",
        "Slurm refuses the time limit.",
        "Shorten it; `sinfo -o '%P %l'` there lists each partition's longest.",
    ),
    (
        "node configuration is not available",
        "too-much-asked",
        "No node of the partition has what the job asks for.",
        "Ask for fewer GPUs, cores or less memory, or choose another partition.",
    ),
    ("submit limit", "queue-full", "Slurm takes no more jobs of yours now.", "Wait until some have ended; then retry."),
    ("qos", "bad-qos", "Slurm refuses the QOS, or its limit is reached.", "Mend the target's options; then retry."),
    (
        "contact slurm controller",
        "no-slurm",
        "Slurm's controller does not answer.",
        "See whether `sinfo` works there; then retry.",
    ),
    ("configuration source", "no-slurm", "Slurm is not set up there.", "`sinfo` must work there; SLURM_CONF names it."),
    ("no such file", "no-slurm", "Slurm's commands are not there.", "Install them, or give the login host by --host."),
    ("not found", "no-slurm", "Slurm's commands are not there.", "Put them on PATH, or give the login host by --host."),
)


def waiting_words(state: str, reason: str, pending_s: float | None) -> str:
    """`pending: Resources, for 3 min` with what the reason means; one that never ends says so."""
    since = ""
    if pending_s is not None and pending_s >= 60:
        since = f", for {format_duration(pending_s // 60 * 60).removesuffix(' 00 s')}"
    if state == "CONFIGURING":
        return f"pending: its node is being made ready{since}"
    named = reason.partition(",")[0].strip("()") or "not looked at yet"
    never = next((words for key, words in _NEVER.items() if named.startswith(key)), "")
    if never:
        return f"pending: {named}{since}; it will not start: {never}"
    if named.startswith(("QOSMax", "QOSGrp", "Assoc", "MaxJobs", "QOSResource")):
        return f"pending: {named}{since} (a limit of your account or QOS)"
    means = next((words for key, words in _REASONS.items() if named.startswith(key)), "")
    return f"pending: {named}{since}" + (f" ({means})" if means else "")


def refused_words(said: str, where: str) -> dict[str, str]:
    """Fields of an error for a job that sbatch did not take."""
    line = "; ".join(text.removeprefix("sbatch: error: ").strip() for text in said.splitlines()[-2:])
    for key, code, what, fix in _REFUSALS:
        if key in said.lower():
            return {"what": what, "evidence": f"sbatch on {where}: {line}", "fix": fix, "code": code}
    return {
        "what": "Slurm did not take the job.",
        "evidence": f"sbatch on {where}: {line}",
        "fix": "Mend the target's options: `workbench target show` lists them.",
        "code": "sbatch-refused",
    }


def state_failure(
    *, state: str, title: str, job: str, nodes: str, took: str, reason: str, said: str, by: str, target: str
) -> Failure:
    """A run that Slurm ended, or lost. `took`: how long it ran, of its limit."""
    on = f" on {nodes}" if nodes else ""
    seen = f"job {job}{on}: {state}" + (f" after {took}" if took else "") + (f", {reason}" if reason else "")
    change = f"`workbench target change {target}"
    code, what, fix = {
        "TIMEOUT": (
            "out-of-time",
            f"{title} ran out of time: its Slurm job reached its limit.",
            f"Give it more: {change} --time 4:00:00`, or a partition that allows more; then retry.",
        ),
        "DEADLINE": ("out-of-time", f"{title} was ended at its job's deadline.", "Retry without a deadline."),
        "PREEMPTED": (
            "preempted",
            f"{title} was preempted by jobs of higher priority, each time that it was queued again.",
            f"Choose a partition or QOS that is not preempted: {change} --partition NAME`; then retry.",
        ),
        "NODE_FAIL": (
            "node-failed",
            f"{title} lost its node.",
            "Retry: finished steps are reused. If the same node fails again, tell its administrator.",
        ),
        "OUT_OF_MEMORY": (
            "out-of-memory",
            f"{title} was killed: it took more memory than its Slurm job had.",
            f"Ask for more: {change} --option=--mem=64G`; then retry.",
        ),
        "CANCELLED": (
            "cancelled-there",
            f"{title} was cancelled in Slurm by somebody else" + (f" (user number {by})." if by else "."),
            "Ask who did it; then retry.",
        ),
        "UNKNOWN": (
            "job-gone",
            f"Slurm does not know the job of {title.lower()} any more, and it left no result.",
            "Retry: finished steps are reused.",
        ),
    }.get(
        state,
        (
            "slurm-failed",
            f"{title} did not come to its end in its Slurm job.",
            "See that the target's folder and interpreter are seen on the nodes as on the login host; then retry.",
        ),
    )
    return Failure(code=code, what=what, evidence=seen + (f"; it said: {said}" if said else ""), fix=fix)
