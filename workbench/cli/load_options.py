"""Options of a workload and its load, shared by bench and compare. Only typer is imported here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

ENGINES, WORKLOAD, LOAD, GOODPUT, RESULT = "Engines", "Workload", "Load", "Limits for goodput", "Result"


def _option(panel: str, *names: str, **rest: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, **rest)


EnginesArgument = Annotated[
    list[str],
    typer.Argument(
        help="Engines: folders, names or keys as `workbench engines` lists them, `last`, or a precision (fp16) that "
        "one engine alone has; endpoints and PyTorch baselines too."
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A runtime setting of every engine: runtime.kv_cache_gib=2. May be repeated.",
        rich_help_panel=ENGINES,
    ),
]

Workload = Annotated[
    str,
    _option(
        WORKLOAD, "--workload", "-w", metavar="NAME", help="demo, chat, rag, summarise, code, or a TOML file of one."
    ),
]
Input = Annotated[
    str | None,
    _option(
        WORKLOAD,
        "--input",
        metavar="LENGTH",
        help="Prompt length in tokens: 512, 128..1024, 512~64, lognormal:512~300.",
    ),
]
Output = Annotated[
    str | None,
    _option(WORKLOAD, "--output", metavar="LENGTH", help="Answer length in tokens, in the same forms."),
]
FixedOutput = Annotated[
    bool | None,
    _option(
        WORKLOAD,
        "--fixed-output/--no-fixed-output",
        help="Answers go on to their length (ignore_eos); the default.",
    ),
]
OwnFile = Annotated[
    str | None, _option(WORKLOAD, "--file", metavar="FILE", help="Prompts of your own: JSONL or text, one a line.")
]
Prefix = Annotated[
    int | None, _option(WORKLOAD, "--prefix", min=0, metavar="TOKENS", help="So many first tokens are shared by all.")
]
PrefixGroups = Annotated[
    int | None, _option(WORKLOAD, "--prefix-groups", min=1, metavar="N", help="Number of shared prefixes.")
]
Distinct = Annotated[
    int | None, _option(WORKLOAD, "--distinct", min=1, metavar="N", help="Number of distinct prompts.")
]
Chat = Annotated[bool | None, _option(WORKLOAD, "--chat/--raw", help="With the chat template, or as plain text.")]
Temperature = Annotated[
    float | None, _option(WORKLOAD, "--temperature", min=0.0, max=10.0, metavar="T", help="0 is greedy.")
]
Seed = Annotated[int | None, _option(WORKLOAD, "--seed", min=0, metavar="N", help="Of prompts, lengths and arrivals.")]

Concurrency = Annotated[
    str | None,
    _option(
        LOAD,
        "--concurrency",
        "-c",
        metavar="LEVELS",
        help="Requests open at once: 1,8,32, or 1..128 for doubling.",
    ),
]
Rate = Annotated[
    str | None,
    _option(LOAD, "--rate", metavar="LEVELS", help="Or requests a second, however long the answers take: 1,2,4."),
]
Arrival = Annotated[
    str | None,
    _option(LOAD, "--arrival", metavar="KIND", help="With --rate: poisson (the default) or constant."),
]
Trace = Annotated[
    str | None,
    _option(LOAD, "--trace", metavar="FILE", help="Or JSONL with timestamps, replayed at its own times."),
]
Speed = Annotated[
    str | None, _option(LOAD, "--speed", metavar="LEVELS", help="With --trace: times the trace's own speed: 1,2.")
]
Duration = Annotated[
    float | None, _option(LOAD, "--duration", min=0.1, metavar="SECONDS", help="How long a point is measured.")
]
Requests = Annotated[
    int | None,
    _option(
        LOAD,
        "--requests",
        min=1,
        metavar="N",
        help="Requests of a point; with --duration, whichever ends first.",
    ),
]
Warmup = Annotated[
    float | None, _option(LOAD, "--warmup", min=0.0, metavar="SECONDS", help="Time before that is left out.")
]
WarmupRequests = Annotated[
    int | None,
    _option(LOAD, "--warmup-requests", min=0, metavar="N", help="Requests before that are left out."),
]
Repeats = Annotated[
    int | None, _option(LOAD, "--repeats", min=1, max=100, metavar="N", help="How often each point is measured.")
]
Ab = Annotated[
    bool,
    _option(LOAD, "--ab", help="Engines take turns, the order alternated, instead of one after the other."),
]
Timeout = Annotated[
    float | None,
    _option(LOAD, "--timeout", min=0.1, metavar="SECONDS", help="After which a request is given up."),
]
Cancel = Annotated[
    float | None,
    _option(LOAD, "--cancel", min=0.0, max=1.0, metavar="SHARE", help="Share of requests that are aborted half-way."),
]
KeepGoing = Annotated[bool, _option(LOAD, "--keep-going", help="Go on with a sweep that has saturated.")]
Drain = Annotated[
    float | None,
    _option(LOAD, "--drain", min=0.0, metavar="SECONDS", help="What open requests get after the measured time."),
]

TtftLimit = Annotated[float | None, _option(GOODPUT, "--ttft-limit", min=0.0, metavar="MS", help="Longest TTFT in ms.")]
ItlLimit = Annotated[
    float | None, _option(GOODPUT, "--itl-limit", min=0.0, metavar="MS", help="Longest inter-token latency in ms.")
]
LatencyLimit = Annotated[
    float | None, _option(GOODPUT, "--latency-limit", min=0.0, metavar="MS", help="Longest answer in ms.")
]

Out = Annotated[
    str | None,
    _option(RESULT, "--out", metavar="FOLDER", help="Where to keep the result; else in WORKBENCH_HOME."),
]
Report = Annotated[
    list[str],
    _option(
        RESULT,
        "--report",
        metavar="FILE",
        help="Write a report, by its ending: .html, .pdf, .json or .csv. May be repeated.",
    ),
]
