"""The commands that measure: bench, compare, results, report. Only typer is imported here."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from workbench.cli import load_options as opt
from workbench.cli.help import App, Command
from workbench.cli.options import JsonFlag

app = App()

QUALITY = "Quality"


@app.command()
def bench(
    engines: opt.EnginesArgument,
    overrides: opt.Overrides = [],  # noqa: B006
    concurrency: opt.Concurrency = None,
    rate: opt.Rate = None,
    arrival: opt.Arrival = None,
    trace: opt.Trace = None,
    speed: opt.Speed = None,
    duration: opt.Duration = None,
    requests: opt.Requests = None,
    warmup: opt.Warmup = None,
    warmup_requests: opt.WarmupRequests = None,
    repeats: opt.Repeats = None,
    ab: opt.Ab = False,
    timeout: opt.Timeout = None,
    cancel: opt.Cancel = None,
    drain: opt.Drain = None,
    keep_going: opt.KeepGoing = False,
    workload: opt.Workload = "chat",
    input: opt.Input = None,
    output: opt.Output = None,
    fixed_output: opt.FixedOutput = None,
    file: opt.OwnFile = None,
    distinct: opt.Distinct = None,
    prefix: opt.Prefix = None,
    prefix_groups: opt.PrefixGroups = None,
    chat: opt.Chat = None,
    temperature: opt.Temperature = None,
    seed: opt.Seed = None,
    ttft_limit: opt.TtftLimit = None,
    itl_limit: opt.ItlLimit = None,
    latency_limit: opt.LatencyLimit = None,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            metavar="RUN",
            help="A kept run (folder, id or last) to hold this one against; exit code 6 if worse.",
            rich_help_panel="Against a kept run",
        ),
    ] = "",
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            min=0.0,
            max=1000.0,
            metavar="PERCENT",
            help="What counts as worse.",
            rich_help_panel="Against a kept run",
        ),
    ] = 10.0,
    out: opt.Out = None,
    report: opt.Report = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Measure speed under load: TTFT, inter-token latency, tokens/s, by concurrency or by request rate.

    Without options: the chat workload with 1, 8 and 32 requests open at once, 30 seconds each.

    Everything is kept as it comes; Ctrl+C keeps what was measured. Exit code 6: worse than the baseline by more than
    the threshold, and the interval says so; three repeats or more can tell.

    \b
    Examples:
      workbench bench last --workload demo --concurrency 1,4,8 --duration 10
      workbench bench fp8 bf16 --ab --concurrency 32 --duration 60 --repeats 5 --report result.html
      workbench bench last --rate 1,2,4,8 --duration 60 --ttft-limit 500
      workbench bench last --baseline 20261121-193012-3fa9c1 --threshold 5
    """
    from workbench.cli.bench import run_bench_command
    from workbench.cli.context import running
    from workbench.core.measure.command import Typed

    typed = Typed(
        workload=workload,
        input=input,
        output=output,
        file=file,
        trace=trace,
        fixed_output=fixed_output,
        prefix=prefix,
        prefix_groups=prefix_groups,
        distinct=distinct,
        chat=chat,
        temperature=temperature,
        seed=seed,
        concurrency=concurrency,
        rate=rate,
        arrival=arrival,
        speed=speed,
        duration_s=duration,
        requests=requests,
        warmup_s=warmup,
        warmup_requests=warmup_requests,
        repeats=repeats,
        timeout_s=timeout,
        cancel_share=cancel,
        ttft_limit_ms=ttft_limit,
        itl_limit_ms=itl_limit,
        latency_limit_ms=latency_limit,
        stop_saturated=False if keep_going else None,
        drain_s=drain,
    )
    with running(as_json) as context:
        run_bench_command(
            context,
            engines,
            typed,
            alternated=ab,
            baseline=baseline,
            threshold_percent=threshold,
            overrides=overrides,
            out=out,
            reports=report,
        )


@app.command()
def compare(
    engines: opt.EnginesArgument,
    overrides: opt.Overrides = [],  # noqa: B006
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            "-b",
            metavar="ENGINE",
            help="What the others are held against; else the first.",
            rich_help_panel=opt.ENGINES,
        ),
    ] = "",
    pytorch: Annotated[
        str,
        typer.Option(
            "--pytorch",
            metavar="FOLDER",
            help="Take a model folder along as it is, run by PyTorch; `auto`: the baseline's source model.",
            rich_help_panel=opt.ENGINES,
        ),
    ] = "",
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="Asked of all, answers side by side. May be repeated.",
            rich_help_panel=opt.ENGINES,
        ),
    ] = [],  # noqa: B006
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="File of such prompts: JSONL, or text, one a line.",
            rich_help_panel=opt.ENGINES,
        ),
    ] = "",
    price: Annotated[
        float | None,
        typer.Option(
            "--price",
            min=0.0,
            help="Of an hour of this machine: gives the cost of a million tokens.",
            rich_help_panel=opt.ENGINES,
        ),
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="Of the price.", rich_help_panel=opt.ENGINES)] = "USD",
    quality: Annotated[
        bool,
        typer.Option(
            "--quality/--no-quality",
            help="Perplexity, agreement and KL against the baseline.",
            rich_help_panel=QUALITY,
        ),
    ] = True,
    text: Annotated[
        str,
        typer.Option(
            "--text", metavar="FILE", help="Text for the perplexity; else the shipped one.", rich_help_panel=QUALITY
        ),
    ] = "",
    task: Annotated[
        list[str],
        typer.Option(
            "--task",
            metavar="FILE",
            help="Questions in the layout of MMLU, ARC, HellaSwag or GSM8K. May be repeated.",
            rich_help_panel=QUALITY,
        ),
    ] = [],  # noqa: B006
    task_limit: Annotated[
        int | None,
        typer.Option(
            "--task-limit", min=1, metavar="N", help="So many questions of each task.", rich_help_panel=QUALITY
        ),
    ] = None,
    lm_eval: Annotated[
        str,
        typer.Option(
            "--lm-eval",
            metavar="TASKS",
            help="Tasks for lm-evaluation-harness, comma-separated; of endpoints only.",
            rich_help_panel=QUALITY,
        ),
    ] = "",
    simulate: Annotated[
        str,
        typer.Option(
            "--simulate",
            metavar="PRECISIONS",
            help="Quality of precisions before they are built: fp8,int8_sq,int4_awq,nvfp4.",
            rich_help_panel=QUALITY,
        ),
    ] = "",
    speeds: Annotated[
        bool, typer.Option("--speeds/--no-speeds", help="Measure speed under load.", rich_help_panel=opt.LOAD)
    ] = True,
    concurrency: opt.Concurrency = None,
    rate: opt.Rate = None,
    arrival: opt.Arrival = None,
    trace: opt.Trace = None,
    speed: opt.Speed = None,
    duration: opt.Duration = None,
    requests: opt.Requests = None,
    warmup: opt.Warmup = None,
    warmup_requests: opt.WarmupRequests = None,
    repeats: opt.Repeats = None,
    ab: opt.Ab = False,
    timeout: opt.Timeout = None,
    cancel: opt.Cancel = None,
    drain: opt.Drain = None,
    keep_going: opt.KeepGoing = False,
    workload: opt.Workload = "chat",
    input: opt.Input = None,
    output: opt.Output = None,
    fixed_output: opt.FixedOutput = None,
    file: opt.OwnFile = None,
    distinct: opt.Distinct = None,
    prefix: opt.Prefix = None,
    prefix_groups: opt.PrefixGroups = None,
    chat: opt.Chat = None,
    temperature: opt.Temperature = None,
    seed: opt.Seed = None,
    ttft_limit: opt.TtftLimit = None,
    itl_limit: opt.ItlLimit = None,
    latency_limit: opt.LatencyLimit = None,
    out: opt.Out = None,
    report: opt.Report = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Hold engines side by side: size, memory, speed under load and quality against a baseline.

    Without options: speed at 1, 4 and 8 requests open at once, 20 seconds each, and quality on the shipped text.

    \b
    Examples:
      workbench compare fp16 int8 int4 --pytorch auto --workload demo --concurrency 1,4,8 --duration 10
      workbench compare fp8 bf16 --baseline bf16 --price 2.5 --report compare.html --report compare.pdf
      workbench compare bf16 --simulate fp8,int4_awq --no-speeds
    """
    from workbench.cli.compare import Wanted, run_compare_command
    from workbench.cli.context import running
    from workbench.core.measure.command import Typed

    typed = Typed(
        workload=workload,
        input=input,
        output=output,
        file=file,
        trace=trace,
        fixed_output=fixed_output,
        prefix=prefix,
        prefix_groups=prefix_groups,
        distinct=distinct,
        chat=chat,
        temperature=temperature,
        seed=seed,
        concurrency=concurrency,
        rate=rate,
        arrival=arrival,
        speed=speed,
        duration_s=duration,
        requests=requests,
        warmup_s=warmup,
        warmup_requests=warmup_requests,
        repeats=repeats,
        timeout_s=timeout,
        cancel_share=cancel,
        ttft_limit_ms=ttft_limit,
        itl_limit_ms=itl_limit,
        latency_limit_ms=latency_limit,
        stop_saturated=False if keep_going else None,
        drain_s=drain,
    )
    wanted = Wanted(
        engines=tuple(engines),
        baseline=baseline,
        pytorch=pytorch,
        quality=quality,
        speeds=speeds,
        text=text,
        tasks=tuple(task),
        task_limit=task_limit,
        lm_eval=lm_eval,
        simulate=simulate,
        prompts=tuple(prompt),
        prompts_file=prompts,
        price=price,
        currency=currency,
        alternated=ab,
        overrides=tuple(overrides),
    )
    with running(as_json) as context:
        run_compare_command(context, wanted, typed, out=out, reports=report)


@app.command()
def results(
    as_json: JsonFlag = False,
) -> None:
    """List what was measured: benchmark runs and comparisons, newest first.

    \b
    Examples:
      workbench results
      workbench results --json
    """
    from workbench.cli.context import running
    from workbench.cli.results import run_results

    with running(as_json) as context:
        run_results(context)


class _ReportCommand(Command):
    """Lets --with take all the files that a shell's `*` makes; Typer knows no options with several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = False
        for number, word in enumerate(args):
            again = taking and not word.startswith("-") and args[number - 1] != "--with" and os.path.isfile(word)  # noqa: PTH113
            spread += ["--with", word] if again else [word]
            taking = word == "--with" or (taking and not word.startswith("-"))
        return super().parse_args(ctx, spread)


@app.command(cls=_ReportCommand)
def report(
    result: Annotated[str, typer.Argument(help="A run or a comparison: its folder, its id, or `last`.")],
    out: Annotated[
        list[str], typer.Option("--out", "-o", help="File to write, by its ending: .html, .pdf, .json or .csv.")
    ] = [],  # noqa: B006
    foreign: Annotated[
        list[str],
        typer.Option(
            "--with",
            metavar="FILE...",
            help="Results of AIPerf, vLLM, trtllm-bench or GuideLLM as further variants.",
        ),
    ] = [],  # noqa: B006
    price: Annotated[float | None, typer.Option("--price", min=0.0, help="Price of an hour of the machine.")] = None,
    currency: Annotated[str, typer.Option("--currency", help="Of the price.")] = "USD",
    as_json: JsonFlag = False,
) -> None:
    """Show a kept result again, or write it as a report.

    \b
    Examples:
      workbench report last
      workbench report last --out result.html --out result.pdf
      workbench report last --with vllm.json --out side-by-side.html
    """
    from workbench.cli.context import running
    from workbench.cli.results import run_report

    with running(as_json) as context:
        run_report(context, result, out, foreign, price=price, currency=currency)
