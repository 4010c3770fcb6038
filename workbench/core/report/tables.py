"""Tables of a report as rows of text, so that the HTML and the PDF say the same in the same words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import QualityRecord, TokenChoice
from workbench.core.measure.record import Subject
from workbench.core.report import words
from workbench.core.report.definitions import DEFINITIONS
from workbench.core.report.model import ForeignInfo, Point, Report, RunInfo, Variant
from workbench.core.units import format_bytes

_FEW = 100
"""Below so many values a p99 is printed with their number."""


@dataclass(frozen=True)
class Head:
    title: str
    unit: str = ""
    definition: str = ""


@dataclass(frozen=True)
class Text:
    text: str
    title: str = ""
    """More, shown when pointed at."""
    why: str = ""
    """Why there is no figure."""


@dataclass(frozen=True)
class Row:
    variant: Variant
    cells: tuple[Text, ...]


@dataclass(frozen=True)
class _PointColumn:
    head: Head
    cell: Callable[[Point], Text]
    present: Callable[[Point], bool]


def _plain(title: str, unit: str, field: str, definition: str = "", digits: int | None = None) -> _PointColumn:
    return _PointColumn(
        Head(title, unit, DEFINITIONS.get(definition, "")),
        lambda point: Text(words.number(getattr(point, field), digits)),
        lambda point: getattr(point, field) is not None,
    )


def _tail(title: str, field: str, count: str, definition: str, digits: int) -> _PointColumn:
    """A p99, with the number of values beside it when they are few."""

    def cell(point: Point) -> Text:
        value, n = getattr(point, field), getattr(point, count)
        if value is None or n is None or n >= _FEW:
            return Text(words.number(value, digits))
        return Text(f"{words.number(value, digits)} (n {n})", f"p99 of {n} values")

    return _PointColumn(
        Head(title, "ms", DEFINITIONS[definition]), cell, lambda point: getattr(point, field) is not None
    )


def _throughput(point: Point) -> Text:
    low, high = point.output_throughput_low_tok_s, point.output_throughput_high_tok_s
    more = f"repeats: {words.number(low)} to {words.number(high)} tok/s" if low is not None and high is not None else ""
    return Text(words.number(point.output_throughput_tok_s, _digits(point.output_throughput_tok_s)), more)


def _digits(value: float | None) -> int:
    return 0 if value is not None and abs(value) >= 100 else 1


def _failures(point: Point) -> Text:
    return Text(words.number(point.failed, 0), "; ".join(f"{count} x {text}" for text, count in point.errors.items()))


_POINT_COLUMNS: tuple[_PointColumn, ...] = (
    _PointColumn(Head("Level"), lambda p: Text(words.load(p.level, p.level_unit), p.level_unit), lambda p: True),
    _plain("Requests", "completed", "completed", digits=0),
    _plain("Rate", "req/s", "request_throughput_req_s", "Request throughput", 2),
    _PointColumn(
        Head("Output", "tok/s", DEFINITIONS["Output throughput"]),
        _throughput,
        lambda p: p.output_throughput_tok_s is not None,
    ),
    _plain("Per user", "tok/s", "output_speed_per_user_p50_tok_s", "Output speed per user", 1),
    _plain("TTFT p50", "ms", "ttft_p50_ms", "TTFT", 1),
    _plain("p90", "ms", "ttft_p90_ms", "TTFT", 1),
    _tail("p99", "ttft_p99_ms", "ttft_n", "TTFT", 1),
    _plain("ITL p50", "ms", "itl_p50_ms", "ITL", 2),
    _plain("p90", "ms", "itl_p90_ms", "ITL", 2),
    _tail("p99", "itl_p99_ms", "itl_n", "ITL", 2),
    _plain("Latency p50", "ms", "latency_p50_ms", "Latency", 0),
    _plain("Goodput", "req/s", "goodput_req_s", "Goodput", 2),
    _PointColumn(
        Head("KV peak", "of the pool"),
        lambda p: Text(words.share(p.kv_share_peak, 0)),
        lambda p: p.kv_share_peak is not None,
    ),
    _PointColumn(
        Head("Accepted", "of guesses", DEFINITIONS["Accepted"]),
        lambda p: Text(words.share(p.draft_acceptance_share, 0)),
        lambda p: p.draft_acceptance_share is not None,
    ),
    _plain("Tokens", "a pass", "tokens_a_pass", "Tokens a pass", 2),
    _plain("Power", "W", "power_mean_w", digits=0),
    _plain("Tokens", "a joule", "output_tokens_per_joule", "Output tokens a joule"),
    _plain("Cost", "a M tokens", "cost_per_million_output_tokens", "Cost", 2),
    _PointColumn(Head("Failed"), _failures, lambda p: p.failed is not None),
)


def point_table(report: Report) -> tuple[tuple[Head, ...], tuple[Row, ...]]:
    """One row a variant and level; columns that nobody reports are left out."""
    columns = [column for column in _POINT_COLUMNS if any(column.present(point) for point in report.points)]
    rows = tuple(
        Row(variant, tuple(column.cell(point) for column in columns))
        for variant in report.variants
        for point in report.points_of(variant.id)
    )
    return tuple(column.head for column in columns), rows


def quality_table(report: Report) -> tuple[tuple[Head, ...], tuple[Row, ...]]:
    """One row a variant with a quality record; columns that nobody has are left out."""
    tasks = list(dict.fromkeys((task.name, task.metric) for record in report.quality for task in record.tasks))
    columns: list[tuple[Head, Callable[[QualityRecord], Text], Callable[[QualityRecord], bool]]] = [
        _measure("Perplexity", "", "perplexity", "Perplexity", 3),
        _measure("Bits", "a byte", "bits_per_byte", "Bits per byte", 3),
        _measure("Agreement", "%", "agreement", "Agreement", 2, 100.0),
        _measure("KL", "nats", "kl_nats", "KL divergence", 4),
    ]
    for name, metric in tasks:
        columns.append(_task(name, metric))
    kept = [(head, cell) for head, cell, there in columns if any(there(record) for record in report.quality)]
    names = {variant.id: variant for variant in report.variants}
    rows = tuple(
        Row(names[record.subject], tuple(cell(record) for _, cell in kept))
        for record in report.quality
        if record.subject in names
    )
    return tuple(head for head, _ in kept), rows if kept else ()


def _measure(
    title: str, unit: str, field: str, definition: str, digits: int, scale: float = 1.0
) -> tuple[Head, Callable[[QualityRecord], Text], Callable[[QualityRecord], bool]]:
    def cell(record: QualityRecord) -> Text:
        found: Estimate | None = getattr(record, field)
        if found is not None:
            return _estimate(found, digits, scale)
        why = record.failure.what if record.failure is not None else record.not_reported.get(field, "")
        own = record.subject == record.baseline and field in ("agreement", "kl_nats")
        return Text(words.NOT_REPORTED, why="baseline" if own and not why else why)

    return Head(title, unit, DEFINITIONS[definition]), cell, lambda record: getattr(record, field) is not None


def _task(name: str, metric: str) -> tuple[Head, Callable[[QualityRecord], Text], Callable[[QualityRecord], bool]]:
    def cell(record: QualityRecord) -> Text:
        found = next((task for task in record.tasks if (task.name, task.metric) == (name, metric)), None)
        return _estimate(found.score, 1, 100.0) if found is not None else Text(words.NOT_REPORTED)

    return Head(name, f"% {metric}"), cell, lambda record: True


def _estimate(found: Estimate, digits: int, scale: float) -> Text:
    scaled = found.model_copy(
        update={
            name: None if value is None else value * scale
            for name, value in (
                ("value", found.value),
                ("low", found.low),
                ("high", found.high),
                ("stderr", found.stderr),
            )
        }
    )
    between = words.interval(scaled, digits)
    parts = [f"95 % interval {between}" if between else "", f"n {found.n:,}" if found.n else ""]
    return Text(words.estimated(scaled, digits), ", ".join(part for part in parts if part))


@dataclass(frozen=True)
class WorstPrompt:
    variant: Variant
    text: str
    agreement: str
    first: str
    baseline: str
    says: str


def worst_prompts(report: Report, each: int = 3) -> tuple[WorstPrompt, ...]:
    """The prompts that differ most from the baseline, a few a variant."""
    names = {variant.id: variant for variant in report.variants}
    rows = []
    for record in report.quality:
        if record.subject not in names or record.subject == record.baseline:
            continue
        differing = [prompt for prompt in record.prompts if prompt.first_difference is not None][:each]
        for prompt in differing:
            rows.append(
                WorstPrompt(
                    names[record.subject],
                    prompt.text or prompt.name,
                    words.share(prompt.agreement.value),
                    f"token {prompt.first_difference:,} of {prompt.positions:,}",
                    _choice(prompt.baseline_choice),
                    _choice(prompt.variant_choice),
                )
            )
    return tuple(rows)


def _choice(choice: TokenChoice | None) -> str:
    if choice is None:
        return words.NOT_REPORTED
    first = f"{choice.text!r} {words.share(choice.probability)}"
    if choice.runner_up_probability is None:
        return first
    return f"{first}, then {choice.runner_up!r} {words.share(choice.runner_up_probability)}"


def run_facts(report: Report, run: RunInfo) -> tuple[tuple[str, str], ...]:
    """How a run was made, as names and words; what is not known is left out. The machine is the client's where a
    server was measured: what that runs on is its own to say.
    """
    subjects = [variant.subject for variant in report.variants if variant.subject is not None]
    remote = [bool(subject.url) for subject in subjects]
    no_gpu = "none used" if not any(remote) else "none used here; an endpoint's is not reported"
    machine = run.environment
    gpus = ", ".join(
        f"{name} ({format_bytes(size)})" if size else name
        for name, size in zip(machine.gpus, (*machine.gpu_memory_bytes, *[0] * len(machine.gpus)), strict=False)
    )
    locked = {True: "locked", False: "not locked", None: ""}[machine.clocks_locked]
    clocks = ", ".join(part for part in (f"SM {machine.sm_mhz:,.0f} MHz" if machine.sm_mhz else "", locked) if part)
    host = [
        machine.cpu,
        f"{machine.cores} cores" if machine.cores else "",
        format_bytes(machine.memory_bytes) if machine.memory_bytes else "",
        machine.os,
        f"Python {machine.python}" if machine.python else "",
    ]
    facts = [
        ("Run", f"{run.id}, {words.moment(run.created_at)}" + (f", {run.status}" if run.status else "")),
        ("Workload", run.workload_words),
        ("Load", run.load_words),
        ("Order", run.order),
        ("Seeds", ", ".join(f"{name} {seed}" for name, seed in run.seeds.items())),
        ("Prompts", f"sha256 {run.prompts_sha256}" if run.prompts_sha256 else ""),
        ("GPU", gpus or (no_gpu if machine.os else "")),
        ("Driver", machine.driver),
        ("Clocks", clocks),
        ("Power limit", f"{machine.power_limit_w:,.0f} W" if machine.power_limit_w else ""),
        ("Client" if remote and all(remote) else "Host", ", ".join(part for part in host if part)),
        ("Workbench", machine.workbench),
        ("Versions", ", ".join(f"{name} {version}" for name, version in machine.versions.items())),
    ]
    return tuple((name, value) for name, value in facts if value)


def provenance(report: Report) -> tuple[tuple[str, str], ...]:
    """Variant -> what it is made of, as far as a name can tell: model, digest, versions, key, folder or address. What
    all have in common is said once.
    """
    subjects = [(variant.name, variant.subject) for variant in report.variants if variant.subject is not None]
    made = [_made_of(subject) for _, subject in subjects]
    common = [part for part in made[0] if all(part in other for other in made)] if len(made) > 1 else []
    rows = [("All variants", "; ".join(common))] if common else []
    for (name, _), parts in zip(subjects, made, strict=True):
        own = "; ".join(part for part in parts if part not in common)
        rows.append((name, own or words.NOT_REPORTED))
    return tuple(rows)


def _made_of(subject: Subject) -> list[str]:
    versions = ", ".join(f"{name} {value}" for name, value in subject.environment.versions.items())
    parts = [
        f"model {subject.model}" if subject.model else "",
        f"model digest {_short(subject.model_digest)}" if subject.model_digest else "",
        versions,
        f"key {_short(subject.key)}" if subject.key else "",
        subject.url or subject.path,
        f"overrides {' '.join(subject.overrides)}" if subject.overrides else "",
    ]
    return [part for part in parts if part]


def fewer_points(report: Report, most_rows: int) -> tuple[Row, ...]:
    """The point table with so many rows at most: of every variant the same levels, the lowest and highest among them;
    none when not even one level fits.
    """
    rows = [(point.level, row) for point, row in zip(_points(report), point_table(report)[1], strict=True)]
    levels = sorted({level for level, _ in rows})
    for count in range(len(levels), 0, -1):
        kept = {levels[round(place * (len(levels) - 1) / max(1, count - 1))] for place in range(count)}
        if count == 1:
            kept = {levels[-1]}
        found = tuple(row for level, row in rows if level in kept)
        if len(found) <= most_rows:
            return found
    return ()


def _points(report: Report) -> list[Point]:
    return [point for variant in report.variants for point in report.points_of(variant.id)]


def foreign_facts(info: ForeignInfo) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Tool", f"{info.tool} {info.tool_version}".strip()),
        ("File", info.file),
        ("Model", info.model),
        ("Made", info.created),
        ("Command", info.command),
    ]
    return tuple((name, value) for name, value in facts if value)


def foreign_line(info: ForeignInfo) -> str:
    """The same in one line, for paper."""
    return ", ".join(value for _, value in foreign_facts(info))


def subtitle(report: Report) -> str:
    """One line under the title: workload, load, machine, time."""
    parts: Sequence[str] = ()
    if report.runs:
        run = report.runs[-1]
        parts = (run.workload_words, run.load_words, ", ".join(run.environment.gpus) or run.environment.cpu)
    return " \u00b7 ".join([*(part for part in parts if part), words.moment(report.created_at)])


def _short(digest: str) -> str:
    """Enough of a digest to know it again; the JSON has all of it."""
    return digest if len(digest) <= 20 else f"{digest[:16]}\u2026"
