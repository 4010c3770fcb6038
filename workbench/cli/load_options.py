"""Options of a workload and its load, shared by bench and compare. Only typer is imported here."""

from __future__ import annotations

from typing import Annotated

import typer

EnginesArgument = Annotated[
    list[str],
    typer.Argument(
        help="Engines: folders, names or keys as `workbench engines` lists them; endpoints and PyTorch baselines too."
    ),
]
Workload = Annotated[
    str, typer.Option("--workload", "-w", help="demo, chat, rag, summarise, code, or a TOML file with a workload.")
]
Input = Annotated[
    str | None, typer.Option("--input", help="Prompt length in tokens: 512, 128..1024, 512~64, lognormal:512~300.")
]
Output = Annotated[str | None, typer.Option("--output", help="Answer length in tokens, in the same forms.")]
OwnFile = Annotated[str | None, typer.Option("--file", help="Prompts of your own: JSONL or text, one a line.")]
Trace = Annotated[str | None, typer.Option("--trace", help="JSONL with timestamps, replayed at its own times.")]
FixedOutput = Annotated[
    bool | None,
    typer.Option("--fixed-output/--no-fixed-output", help="Answers go on to their length (ignore_eos); the default."),
]
Prefix = Annotated[int | None, typer.Option("--prefix", min=0, help="So many first tokens are shared by all.")]
PrefixGroups = Annotated[int | None, typer.Option("--prefix-groups", min=1, help="Number of shared prefixes.")]
Distinct = Annotated[int | None, typer.Option("--distinct", min=1, help="Number of distinct prompts.")]
Chat = Annotated[bool | None, typer.Option("--chat/--raw", help="With the chat template, or as plain text.")]
Temperature = Annotated[float | None, typer.Option("--temperature", min=0.0, max=10.0, help="0 is greedy.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of prompts, lengths and arrivals.")]
Concurrency = Annotated[
    str | None, typer.Option("--concurrency", "-c", help="Requests open at once: 1,8,32, or 1..128 for doubling.")
]
Rate = Annotated[str | None, typer.Option("--rate", help="Requests a second instead, whatever the engine does: 1,2,4.")]
Arrival = Annotated[str | None, typer.Option("--arrival", help="With --rate: poisson (the default) or constant.")]
Speed = Annotated[str | None, typer.Option("--speed", help="With --trace: times the trace's own speed: 1,2.")]
Duration = Annotated[float | None, typer.Option("--duration", min=0.1, help="Seconds that a point is measured.")]
Requests = Annotated[
    int | None, typer.Option("--requests", min=1, help="Requests of a point; or both, whichever ends.")
]
Warmup = Annotated[float | None, typer.Option("--warmup", min=0.0, help="Seconds before that are left out.")]
WarmupRequests = Annotated[
    int | None, typer.Option("--warmup-requests", min=0, help="Requests before that are left out.")
]
Repeats = Annotated[int | None, typer.Option("--repeats", min=1, max=100, help="How often each point is measured.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0.1, help="Seconds after which a request is given up.")]
Cancel = Annotated[
    float | None, typer.Option("--cancel", min=0.0, max=1.0, help="Share of requests that are aborted half-way.")
]
TtftLimit = Annotated[float | None, typer.Option("--ttft-limit", min=0.0, help="Goodput: longest TTFT in ms.")]
ItlLimit = Annotated[float | None, typer.Option("--itl-limit", min=0.0, help="Goodput: longest inter-token latency.")]
LatencyLimit = Annotated[float | None, typer.Option("--latency-limit", min=0.0, help="Goodput: longest answer in ms.")]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Go on with a sweep that has saturated.")]
Drain = Annotated[
    float | None, typer.Option("--drain", min=0.0, help="Seconds that open requests get after the measured time.")
]
Out = Annotated[str | None, typer.Option("--out", help="Folder to keep the result in; else one in WORKBENCH_HOME.")]
Report = Annotated[
    list[str],
    typer.Option("--report", help="Write a report, by its ending: .html, .pdf, .json or .csv. May be repeated."),
]
