"""`workbench presets`, `check`, `build` and `demo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.table import Table

from workbench.cli.context import Context
from workbench.cli.engines import quality_words
from workbench.cli.follow import final_words, start_and_follow
from workbench.cli.jobs import end_with
from workbench.core.artifact import read_provenance, verification
from workbench.core.errors import BadInputError
from workbench.core.galleries import preset_folders, shared_model
from workbench.core.home import Home
from workbench.core.job import JobState
from workbench.core.plan import Plan
from workbench.core.preset import Preset, apply_overrides, find_preset, list_presets
from workbench.core.settings import is_offline
from workbench.core.units import format_bytes, format_count, format_duration
from workbench.jobs import client
from workbench.toolchains import get
from workbench.toolchains.drafts import Draft, open_draft
from workbench.toolchains.environments import choose_environment
from workbench.toolchains.planner import (
    Digests,
    Report,
    check,
    plan_build,
    refuse_blocked,
    refuse_output,
    step_states,
    until_kind,
)
from workbench.toolchains.sources import demo_plan, fetch_plan, is_repository_name, ready_folder

DEMO_PROMPT = "What is the capital of France? Answer in one sentence."


def run_presets(context: Context) -> None:
    found = list_presets(preset_folders(context.home))
    for broken in found.broken:
        context.note(" ".join(broken.failure.lines()))
    if context.as_json:
        context.result([{"id": p.id, **p.to_data()} for p in found.presets])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "goal", "precision", "toolchain", "what it is"):
        table.add_column(column, no_wrap=column == "id")
    for p in found.presets:
        table.add_row(p.id, p.goal, p.precision.weights.value, p.toolchain, p.description or p.title)
    context.out.print(table)


def _setup(
    context: Context, preset: Preset, model_folder: Path, *, config_only: bool = False, target: str = ""
) -> Draft:
    return open_draft(
        preset,
        model_folder,
        home=context.home,
        host=context.host,
        config_only=config_only,
        paths_with_key=lambda key: context.store.paths_with_key(key),
        target=target,
    )


def _digest(context: Context, draft: Draft) -> str:
    """The model folder's digest, with a bar while files are read for the first time."""
    store = context.store
    with context.err.status("Reading the model's files …") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"Reading the model's files … {format_bytes(done)} of {format_bytes(total)}")

        return draft.digest(Digests(store.known_digest, store.remember_digest, progress))


def _preset(context: Context, wanted: str, overrides: list[str]) -> Preset:
    return apply_overrides(find_preset(wanted, preset_folders(context.home)), overrides)


def _model_folder(context: Context, model: str, preset: Preset, *, may_download: bool) -> Path:
    """The folder that `--model` means: a path, a name in the shared folders, or a repository's name, which is
    downloaded by a job of its own, unless that is not wanted."""
    if found := shared_model(context.home, model):
        return found
    if not is_repository_name(model):
        return Path(model)
    if not may_download:
        raise BadInputError(
            f"There is no folder {model}.",
            evidence="it reads like the name of a repository, and neither check nor a dry run downloads anything",
            fix=f"`workbench build PRESET --model {model} --until check` downloads it.",
            code="no-model",
        )
    state = _run(context, fetch_plan(model, preset.model.revision, offline=is_offline(context.home)))
    return Path(state.steps[-1].result["path"])


def _run(context: Context, plan: Plan) -> JobState:
    """Start a job, follow it to its end, leave with its exit code unless it is done."""
    context.store.refuse_newer()
    state = start_and_follow(context, lambda: client.start(context.home, plan))
    context.store.sync()
    end_with(context, state)
    return state


def run_check(
    context: Context,
    preset: str,
    model: str,
    precision: list[str],
    overrides: list[str],
    until: str = "",
    target: str = "",
) -> None:
    chosen = _preset(context, preset, overrides)
    setup = _setup(
        context, chosen, _model_folder(context, model, chosen, may_download=False), config_only=True, target=target
    )
    report = setup.report(precision, until=until)
    context.result(report, "\n".join(report_words(report)))
    refuse_blocked(report, planning=True)


def report_words(report: Report) -> list[str]:
    """The report for people: model, memory of each engine, needs of the build, advice."""
    m = report.model
    lines = [
        f"{m.name}: {m.architecture}, {format_count(m.parameters)} parameters, {m.layers} layers, {m.heads} heads, "
        f"{m.kv_heads} KV heads of {m.head_size}, {m.dtype}, {format_bytes(m.weight_bytes)}",
    ]
    if report.planned_for:
        lines.append(report.planned_for)
    for engine in report.numbers.engines:
        memory = f"{format_bytes(engine.memory_bytes)} memory" + (" on each GPU" if engine.gpus > 1 else "")
        lines.append(f"{engine.precision} engine: {engine.total} of {memory}")
        lines += [f"  {part.name:<12} {part.bytes}" for part in engine.parts]
        lines += [f"  {note}" for note in engine.notes]
        lines.append(f"  KV cache     {engine.kv_bytes_per_token.formula}")
        sequences = str(engine.capacity.sequences)
        sequences = "1 sequence" if sequences == "1 sequences" else sequences
        lines.append(f"  fits         {sequences} of {engine.sequence_tokens:,} tokens")
    n = report.numbers
    lines.append(f"Build: {n.seconds}, {n.disk} of disk, host memory peak {n.host_memory_peak} ({n.host_memory_step})")
    for advice in report.advice:
        lines.append(f"{advice.level}: {advice.text}" + (f" [{advice.arithmetic}]" if advice.arithmetic else ""))
        if advice.fix:
            fix = "".join(f" --set {override}" for override in advice.overrides)
            lines.append(f"  {advice.fix}" + (f"  ({fix.strip()})" if fix else ""))
    lines += [f"not {'there' if report.target else 'here'}: {a.text} [{a.arithmetic}]\n  {a.fix}"
              for a in report.elsewhere]  # fmt: skip
    if not report.blocks:
        on = f"on {report.target}" if report.target else "here"
        lines.append("Can be built there." if report.elsewhere else f"Can be built {on}.")
    return lines


def run_build(
    context: Context,
    preset: str,
    model: str,
    out: Path | None,
    precision: list[str],
    overrides: list[str],
    until: str,
    *,
    detach: bool,
    dry_run: bool,
    anyway: bool,
    target: str = "",
) -> None:
    chosen = _preset(context, preset, overrides)
    until_kind(until)
    if not dry_run:
        context.store.refuse_newer()
    setup = _setup(context, chosen, _model_folder(context, model, chosen, may_download=not dry_run), target=target)
    context.store.sync()
    request = setup.request(precision, until=until, out=out, digest=_digest(context, setup))
    report = check(setup.toolchain, request)
    plan = plan_build(setup.toolchain, request, anyway=anyway)
    if dry_run:
        states = step_states(plan.steps, context.home)
        context.result(_plan_json(plan, states, report), "\n".join(plan_words(plan, states)))
        refuse_blocked(report, anyway=anyway, planning=True)
        return
    refuse_output(plan, context.home)
    refuse_blocked(report, anyway=anyway)
    for advice in report.advice:
        if advice.level == "warning":
            context.note(f"{advice.text} [{advice.arithmetic}] {advice.fix}")
    if detach:
        folder = client.start(context.home, plan)
        context.note(f"`workbench jobs log -f {folder.id[-4:]}` follows it.")
        context.result({"job": folder.id, "folder": str(folder.path)}, folder.id)
        return
    state = _run(context, plan)
    made = made_by(plan, state, context.home)
    for row in made:
        context.err.print(_made_words(row), markup=False, soft_wrap=True)
    context.result(
        {
            "job": state.id,
            "status": state.status,
            "made": made,
            "steps": [s.model_dump(mode="json") for s in state.steps],
        },
        "\n".join(row["path"] for row in made) or final_words(state),
    )


def engine_of(context: Context, preset: str, model_folder: Path) -> Path:
    """The engine that a preset makes of a model, built through the queue if it is not there yet."""
    setup = _setup(context, _preset(context, preset, []), model_folder)
    context.store.sync()
    request = setup.request(digest=_digest(context, setup))
    refuse_blocked(check(setup.toolchain, request))
    plan = plan_build(setup.toolchain, request)
    return Path(made_by(plan, _run(context, plan))[-1]["path"])


def made_by(plan: Plan, state: JobState, home: Home | None = None) -> list[dict[str, Any]]:
    """The last artefact of each precision, with its size and what verify found."""
    last: dict[str, dict[str, Any]] = {}
    for step, status in zip(plan.steps, state.steps, strict=True):
        if step.output is None or not status.artifact:
            continue
        path = Path(status.artifact)
        provenance = read_provenance(path)
        verified = verification(path, provenance, home)
        if step.variant:
            last.pop("", None)
        last[step.variant] = {
            "path": str(path),
            "kind": step.output.kind,
            "name": step.output.name,
            "precision": step.output.precision,
            "size_bytes": provenance.size_bytes,
            "reused": status.status == "reused",
            "verify": verified.result if verified else None,
        }
    return list(last.values())


def _made_words(row: dict[str, Any]) -> str:
    words = f"{row['name']} ({row['kind']}): {format_bytes(row['size_bytes'])} on disk"
    return words + (f", {quality_words(row['verify'])}" if row["verify"] else "")


def plan_words(plan: Plan, states: Any) -> list[str]:
    """The steps with argv, cache state and estimates."""
    lines = [f"{plan.title}: preset {plan.preset_id}, toolchain {plan.toolchain}"]
    for step in plan.steps:
        lines.append(f"{step.id}: {states[step.id]}" + (f" ({step.none_reason})" if step.none_reason else ""))
        if step.note:
            lines.append(f"  by      {step.note}")
        if step.argv:
            lines.append(f"  argv    {' '.join(step.argv)}")
            lines.append(f"  key     {step.key}")
        if step.output:
            lines.append(f"  makes   {step.output.path}")
        e = step.estimate
        if states[step.id] == "to do" and e.seconds:
            lines.append(
                f"  needs   {e.seconds}"
                + (f", disk {e.disk_bytes}" if e.disk_bytes else "")
                + (f", host memory {e.host_memory_bytes}" if e.host_memory_bytes else "")
            )
    return lines


def _plan_json(plan: Plan, states: Any, report: Report) -> dict[str, Any]:
    steps = [{**step.model_dump(mode="json"), "cache": states[step.id]} for step in plan.steps]
    return {
        **plan.model_dump(mode="json", exclude={"steps"}),
        "steps": steps,
        "numbers": report.numbers.model_dump(mode="json"),
        "planned_for": report.planned_for,
        "elsewhere": [a.model_dump(mode="json") for a in report.elsewhere],
        "advice": [a.model_dump(mode="json") for a in report.advice],
    }


def run_demo(context: Context, out: Path | None, prompt: str) -> None:
    from workbench.cli.prompt import answer_once, answer_words

    preset = _preset(context, "demo", [])
    environment = choose_environment(get(preset.toolchain), context.home, os.environ)
    fetch = demo_plan(context.home, environment, os.environ)
    folder = ready_folder(fetch)
    if folder is None:
        folder = Path(_run(context, fetch).artifacts[-1])
    setup = _setup(context, preset, folder)
    context.store.sync()
    request = setup.request(out=out, digest=_digest(context, setup))
    refuse_blocked(check(setup.toolchain, request))
    plan = plan_build(setup.toolchain, request)
    refuse_output(plan, context.home)
    state = _run(context, plan)
    row = made_by(plan, state, context.home)[-1]
    context.err.print(_made_words(row), markup=False, soft_wrap=True)
    question = prompt or DEMO_PROMPT
    answer = answer_once(context, Path(row["path"]), question)
    took = format_duration(state.finished_at - state.started_at) if state.finished_at and state.started_at else ""
    words = [
        f"engine   {row['path']}" + (f" ({took})" if took else ""),
        f"prompt   {question}",
        *answer_words(answer, stats=True),
    ]
    context.result({"engine": row, "job": state.id, "prompt": question, "answer": answer}, "\n".join(words))
