"""What repeats a point, in words: its command, its configuration and where it was measured."""

from __future__ import annotations

import shlex
from pathlib import Path

from workbench.core.measure.command import bench_command, lengths_text
from workbench.core.measure.figures import PointFigures
from workbench.core.measure.record import Environment, RunHead, Subject
from workbench.core.report import words
from workbench.core.units import format_bytes
from workbench.ui.models.bench_view import RunView

_SHOWN_SETTINGS = 24
_HASH = 12


def point_words(view: RunView, subject: Subject, level: float | None) -> str:
    """`FP8, 32 users, 3 repeats`."""
    repeats = view.head.load.repeats
    again = f", {repeats} repeats" if repeats > 1 else ""
    return f"{subject.name}{f', {view.level_words(level)}' if level is not None else ', all levels'}{again}"


def point_command(head: RunHead, subject: Subject, level: float | None) -> tuple[str, ...]:
    """What measures one subject again, at one level or at all of them."""
    load = head.load if level is None else head.load.model_copy(update={"levels": (level,)})
    return bench_command([subject.path or subject.name], head.workload, load, overrides=subject.overrides)


def run_command(head: RunHead) -> tuple[str, ...]:
    """What measures all of it again."""
    if head.command:
        return head.command
    paths = [subject.path or subject.name for subject in head.subjects]
    return bench_command(paths, head.workload, head.load, alternated=head.order == "alternated")


def command_text(argv: tuple[str, ...]) -> str:
    """A command as it can be pasted, an option a line."""
    lines, line, positional = [], "", True
    for place, part in enumerate(argv):
        quoted = _home(shlex.quote(part))
        positional = positional and not part.startswith("-")
        starts = place > 1 and (positional or part.startswith("--"))
        if starts and line:
            lines.append(line)
            line = f"  {quoted}"
        else:
            line = f"{line} {quoted}".strip() if not line.startswith("  ") else f"{line} {quoted}"
    return " \\\n".join([*lines, line])


def _home(quoted: str) -> str:
    home = str(Path.home())
    return f"~{quoted[len(home) :]}" if quoted.startswith(f"{home}/") and home != "/" else quoted


def config_lines(head: RunHead, subject: Subject) -> tuple[tuple[str, str], ...]:
    """Workload, load and what the engine really runs with: name and value, indented where it is one of a group."""
    workload, load = head.workload, head.load
    found = [("workload", workload.name if workload.kind not in ("file", "trace") else workload.file)]
    if workload.kind != "trace":
        found.append(("input_tokens", lengths_text(workload.input)))
        held = "ignore_eos: true" if workload.fixed_output else "ignore_eos: false"
        found.append(("output_tokens", f"{lengths_text(workload.output)}, {held}"))
    if workload.shared_prefix_tokens:
        found.append(("shared_prefix_tokens", str(workload.shared_prefix_tokens)))
    found += [
        ("prompts", f"{workload.prompts}, seed {workload.seed}"),
        ("sampling", f"temperature {workload.temperature:g}"),
        ("chat_template", "yes" if workload.chat else "no"),
        ("arrival", {"closed": "closed loop"}.get(load.arrival, load.arrival)),
        ("order", head.order),
        ("timeout_s", f"{load.timeout_s:g}"),
    ]
    if load.cancel_share:
        found.append(("cancel_share", f"{load.cancel_share:g}"))
    if load.limits.any:
        limits = {"ttft": load.limits.ttft_ms, "itl": load.limits.itl_ms, "latency": load.limits.latency_ms}
        found.append(("limits_ms", ", ".join(f"{name} {value:g}" for name, value in limits.items() if value)))
    settings = list(subject.settings.items())
    if settings:
        found.append(("engine", ""))
        found += [(f"  {name}", value) for name, value in settings[:_SHOWN_SETTINGS]]
    found += [(f"  {name}", f"{value} (not applied)") for name, value in subject.not_applied.items()]
    return tuple(found)


def environment_rows(head: RunHead, subject: Subject, one: PointFigures | None) -> tuple[tuple[str, str], ...]:
    """Name and value of all that tells whether another run may be held against this one."""
    place = subject.environment if subject.environment.os else head.environment
    found: list[tuple[str, str]] = []
    if place.gpus:
        memory = f", {format_bytes(place.gpu_memory_bytes[0])}" if place.gpu_memory_bytes else ""
        found.append(
            (
                "GPU",
                (f"{len(place.gpus)} \N{MULTIPLICATION SIGN} " if len(place.gpus) > 1 else "") + place.gpus[0] + memory,
            )
        )
        found += _gpu_rows(place, one)
    else:
        found.append(("GPU", "none; it ran on the CPU" if not subject.url else "that of the server: not reported"))
    toolchain = subject.toolchain_title or subject.toolchain
    found.append(("Toolchain", toolchain))
    versions = ", ".join(f"{name} {version}" for name, version in place.versions.items())
    if versions:
        found.append(("Libraries", versions))
    if subject.url:
        found.append(("Server", subject.url))
    cores = f"{place.cores} cores" if place.cores else ""
    memory = format_bytes(place.memory_bytes) if place.memory_bytes else ""
    found.append(("Host", ", ".join(part for part in (place.cpu, cores, memory, place.os) if part) or "not reported"))
    if place.other_gpu_bytes is not None and place.gpus:
        found.append(("Other GPU use", f"{format_bytes(place.other_gpu_bytes)} before the run"))
    if one is not None:
        client = one.client
        busy = f"{client.cpu_share * 100:.0f} % of a core" if client.cpu_share is not None else "not reported"
        found.append(("Client", f"{busy}: {client.words}" if client.bottleneck else busy))
        if one.count_sources:
            found.append(("Tokens counted", ", ".join(one.count_sources)))
    found.append(("Workbench", place.workbench or head.environment.workbench or "not reported"))
    return tuple(found)


def _gpu_rows(place: Environment, one: PointFigures | None) -> list[tuple[str, str]]:
    found = []
    sm = one.sm_mean_mhz if one is not None and one.sm_mean_mhz is not None else place.sm_mhz
    if sm is not None:
        locked = {True: ", locked", False: ", not locked"}.get(place.clocks_locked, "")  # type: ignore[arg-type]
        found.append(("Clocks", f"SM {words.number(sm, 0)} MHz{locked}"))
    if place.power_limit_w is not None:
        used = f", {one.power_mean_w:.0f} W used" if one is not None and one.power_mean_w is not None else ""
        found.append(("Power limit", f"{place.power_limit_w:.0f} W{used}"))
    if one is not None and one.temperature_peak_c is not None:
        found.append(("Temperature", f"up to {one.temperature_peak_c:.0f} °C"))
    if place.driver:
        found.append(("Driver", place.driver))
    return found


def hash_rows(head: RunHead, subject: Subject) -> tuple[tuple[str, str], ...]:
    """What tells that engine and prompts are the same."""
    pairs = (("Engine", subject.key), ("Model", subject.model_digest), ("Prompts", head.prompts_sha256))
    return tuple((f"{name} hash", value) for name, value in pairs if value)


def short_hash(value: str) -> str:
    """`7c1e9b2f04aa…`: its beginning; the whole of it is copied."""
    return f"{value[:_HASH]}…" if len(value) > _HASH + 1 else value


def all_text(view: RunView, subject: Subject, level: float | None) -> str:
    """Everything that the drawer shows, for the clipboard."""
    head = view.head
    one = view.point(subject.id, level) if level is not None else None
    lines = [
        f"# {point_words(view, subject, level)}",
        f"# {words.moment(head.created_at)}, run {head.id}",
        "",
        command_text(point_command(head, subject, level)),
        "",
        "# configuration",
        *(f"{name}: {value}".rstrip() for name, value in config_lines(head, subject)),
        "",
        "# environment",
        *(f"{name}: {value}" for name, value in environment_rows(head, subject, one)),
        *(f"{name}: {value}" for name, value in hash_rows(head, subject)),
    ]
    notes = [*head.notes, *(one.notes if one is not None else ())]
    return "\n".join([*lines, *(["", "# notes", *notes] if notes else [])]) + "\n"
