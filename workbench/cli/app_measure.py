"""The commands that measure: bench, compare, results, report. Only typer is imported here."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli import load_options as opt
from workbench.cli.options import JsonFlag, SetOption

app = typer.Typer(rich_markup_mode=None)


@app.command()
def bench(
    engines: opt.EnginesArgument,
    workload: opt.Workload = "chat",
    input: opt.Input = None,
    output: opt.Output = None,
    file: opt.OwnFile = None,
    trace: opt.Trace = None,
    fixed_output: opt.FixedOutput = None,
    prefix: opt.Prefix = None,
    prefix_groups: opt.PrefixGroups = None,
    distinct: opt.Distinct = None,
    chat: opt.Chat = None,
    temperature: opt.Temperature = None,
    seed: opt.Seed = None,
    concurrency: opt.Concurrency = None,
    rate: opt.Rate = None,
    arrival: opt.Arrival = None,
    speed: opt.Speed = None,
    duration: opt.Duration = None,
    requests: opt.Requests = None,
    warmup: opt.Warmup = None,
    warmup_requests: opt.WarmupRequests = None,
    repeats: opt.Repeats = None,
    timeout: opt.Timeout = None,
    cancel: opt.Cancel = None,
    ttft_limit: opt.TtftLimit = None,
    itl_limit: opt.ItlLimit = None,
    latency_limit: opt.LatencyLimit = None,
    keep_going: opt.KeepGoing = False,
    drain: opt.Drain = None,
    ab: Annotated[
        bool, typer.Option("--ab", help="Engines take turns, the order alternated, instead of one after the other.")
    ] = False,
    baseline: Annotated[
        str,
        typer.Option("--baseline", help="A kept run (folder or id) to hold this one against; exit code 6 if worse."),
    ] = "",
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, max=1000.0, help="With --baseline: percent that count as worse.")
    ] = 10.0,
    overrides: SetOption = [],  # noqa: B006
    out: opt.Out = None,
    report: opt.Report = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Measure speed under load: TTFT, inter-token latency, tokens/s, by concurrency or by request rate.

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
    baseline: Annotated[
        str, typer.Option("--baseline", "-b", help="The engine that the others are held against; else the first.")
    ] = "",
    pytorch: Annotated[
        str,
        typer.Option("--pytorch", help="Take a model folder along as it is, run by PyTorch; `auto`: the source model."),
    ] = "",
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Perplexity, agreement and KL against the baseline.")
    ] = True,
    speeds: Annotated[bool, typer.Option("--speeds/--no-speeds", help="Measure speed under load.")] = True,
    text: Annotated[str, typer.Option("--text", help="Text for the perplexity; else the shipped one.")] = "",
    task: Annotated[
        list[str], typer.Option("--task", help="File of questions in the layout of MMLU, ARC, HellaSwag or GSM8K.")
    ] = [],  # noqa: B006
    task_limit: Annotated[
        int | None, typer.Option("--task-limit", min=1, help="So many questions of each task.")
    ] = None,
    lm_eval: Annotated[
        str, typer.Option("--lm-eval", help="Tasks for lm-evaluation-harness, comma-separated; of endpoints only.")
    ] = "",
    simulate: Annotated[
        str, typer.Option("--simulate", help="Quality of precisions before they are built: fp8,int8_sq,int4_awq,nvfp4.")
    ] = "",
    prompt: Annotated[
        list[str], typer.Option("--prompt", help="Asked of all, answers side by side. May be repeated.")
    ] = [],  # noqa: B006
    prompts: Annotated[str, typer.Option("--prompts", help="File of such prompts: JSONL, or text, one a line.")] = "",
    price: Annotated[
        float | None, typer.Option("--price", min=0.0, help="Price of an hour of this machine: cost a million tokens.")
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="Of the price.")] = "USD",
    workload: opt.Workload = "chat",
    input: opt.Input = None,
    output: opt.Output = None,
    file: opt.OwnFile = None,
    fixed_output: opt.FixedOutput = None,
    distinct: opt.Distinct = None,
    chat: opt.Chat = None,
    seed: opt.Seed = None,
    concurrency: opt.Concurrency = None,
    rate: opt.Rate = None,
    arrival: opt.Arrival = None,
    duration: opt.Duration = None,
    requests: opt.Requests = None,
    warmup: opt.Warmup = None,
    warmup_requests: opt.WarmupRequests = None,
    repeats: opt.Repeats = None,
    timeout: opt.Timeout = None,
    ab: Annotated[bool, typer.Option("--ab", help="Variants take turns at every level, the order alternated.")] = False,
    overrides: SetOption = [],  # noqa: B006
    out: opt.Out = None,
    report: opt.Report = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Hold engines side by side: size, memory, speed under load and quality against a baseline.

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
        fixed_output=fixed_output,
        distinct=distinct,
        chat=chat,
        seed=seed,
        concurrency=concurrency,
        rate=rate,
        arrival=arrival,
        duration_s=duration,
        requests=requests,
        warmup_s=warmup,
        warmup_requests=warmup_requests,
        repeats=repeats,
        timeout_s=timeout,
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


@app.command()
def report(
    result: Annotated[str, typer.Argument(help="A run or a comparison: its folder, its id, or `last`.")],
    out: Annotated[
        list[str], typer.Option("--out", "-o", help="File to write, by its ending: .html, .pdf, .json or .csv.")
    ] = [],  # noqa: B006
    foreign: Annotated[
        list[str],
        typer.Option("--with", help="Results of AIPerf, vLLM or trtllm-bench as further columns. May be repeated."),
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
