"""bench, compare, results and report as a person has them; the engines' host is a fake one."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import start, workbench
from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.fakes.openai_server import Behaviour, serving
from workbench.core.home import Home

pytestmark = pytest.mark.slow

SHORT = ("--workload", "demo", "--input", "20", "--output", "6", "--distinct", "3", "--raw")
FOREIGN = Path(__file__).parents[1] / "data" / "foreign"
FEW = (*SHORT, "--requests", "4")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(VARIABLE, str(make_interpreter(tmp_path / "python", kv_blocks=10, tokens_per_s=200)))
    return str(make_engine_folder(tmp_path / "one", "one"))


def test_bench_prints_a_table_keeps_the_run_and_writes_reports(engine: str, tmp_path: Path, home: Home) -> None:
    reports = [tmp_path / f"r{suffix}" for suffix in (".html", ".pdf", ".json", ".csv")]
    options = [word for path in reports for word in ("--report", str(path))]
    ran = workbench("bench", engine, *FEW, "--concurrency", "1,2", *options)
    assert ran.code == 0, ran.err
    assert "2 users" in ran.out
    assert "4/4" in ran.out
    assert "4 of 4 requests" in ran.err
    assert len(list(home.runs.iterdir())) == 1
    assert reports[0].read_text("utf-8").lstrip().lower().startswith("<!doctype html>")
    assert reports[1].read_bytes().startswith(b"%PDF-")
    assert json.loads(reports[2].read_text("utf-8"))["kind"] == "engine-workbench-report"
    assert len(reports[3].read_text("utf-8").splitlines()) == 3
    listed = workbench("results", "--json").json
    assert [(row["kind"], row["status"]) for row in listed] == [("bench", "complete")]
    assert "2 users" in workbench("report", "last").out
    again = tmp_path / "again.html"
    assert workbench("report", listed[0]["id"], "--out", str(again)).code == 0
    assert again.stat().st_size > 1000


def test_bench_as_json_holds_the_figures(engine: str) -> None:
    ran = workbench("bench", engine, *FEW, "--rate", "20", "--arrival", "constant", "--ttft-limit", "5000", "--json")
    assert ran.code == 0, ran.err
    (point,) = ran.json["points"]
    assert point["completed"] == point["requests"] == 4
    assert point["ttft_ms"]["p50"] > 0
    assert point["goodput_share"] == 1.0
    assert ran.json["load"]["arrival"] == "constant"
    assert ran.json["subjects"][0]["kv_tokens"] == 320


def test_a_run_that_is_worse_than_its_baseline_ends_with_a_code_of_its_own(
    engine: str, tmp_path: Path, home: Home
) -> None:
    more = (*SHORT, "--requests", "12", "--concurrency", "2", "--repeats", "4")
    first = workbench("bench", engine, *more, "--json")
    assert first.code == 0, first.err
    same = workbench("bench", engine, *more, "--baseline", first.json["id"], "--threshold", "80")
    assert same.code == 0, same.out
    make_interpreter(tmp_path / "python", kv_blocks=10, tokens_per_s=40)
    worse = workbench("bench", engine, *more, "--baseline", first.json["folder"])
    assert worse.code == 6, worse.out
    assert "regressed" in worse.out
    assert len(list(home.runs.iterdir())) == 3
    other = workbench("bench", engine, *more, "--input", "99", "--baseline", first.json["id"])
    assert other.code == 2 and "did not ask for the same" in other.err
    assert len(list(home.runs.iterdir())) == 3, "that is said before anything is measured"


def test_ctrl_c_keeps_what_was_measured(engine: str, home: Home) -> None:
    process = start("bench", engine, *SHORT, "--concurrency", "1,2", "--duration", "2", "--json")
    ends = time.monotonic() + 60
    while time.monotonic() < ends and not list(home.runs.glob("*/points/*.json.gz")):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert json.loads(out)["status"] == "stopped"
    assert "what was measured is kept" in err
    assert [row["status"] for row in workbench("results", "--json").json] == ["stopped"]


def test_where_no_request_completed_the_reason_is_said_and_the_code_is_no_success(home: Home) -> None:
    with serving(Behaviour(ttft_s=0.0, itl_s=0.001, drop_after=2)) as server:
        assert workbench("endpoint", "add", "cut", "--url", server.url, "--model", "mock").code == 0
        ran = workbench("bench", "cut", *FEW, "--concurrency", "1")
    assert ran.code == 4, ran.out + ran.err
    assert "4 failed: the stream ended early, after 2 tokens" in ran.err
    assert "cut, 1 user: No request completed." in ran.err


def test_an_engine_is_found_by_a_precision_that_it_alone_has(home: Home) -> None:
    one = make_engine_folder(home.artifacts / "engines" / "one", "one")
    found = workbench("engines", "show", "INT8", "--json")
    assert found.code == 0, found.err
    assert found.json["path"] == str(one)
    make_engine_folder(home.artifacts / "engines" / "two", "two")
    both = workbench("bench", "int8", *FEW, "--concurrency", "1")
    assert both.code == 2
    assert "'int8' fits 2 engines" in both.err


def test_a_report_takes_what_a_shell_makes_of_a_star(engine: str, tmp_path: Path) -> None:
    assert workbench("bench", engine, *FEW, "--concurrency", "1").code == 0
    files = [str(FOREIGN / name) for name in ("vllm_bench_serve.json", "profile_export_aiperf.json")]
    shown = workbench("report", "--with", *files, "last", "--json")
    assert shown.code == 0, shown.err
    assert [info["tool"] for info in shown.json["foreign"]] == ["vLLM bench serve", "AIPerf"]


def test_compare_prints_the_matrix_and_the_answers(engine: str, tmp_path: Path) -> None:
    other = str(make_engine_folder(tmp_path / "two", "two"))
    page = tmp_path / "c.html"
    ran = workbench(
        "compare", other, engine, "--baseline", engine, *FEW, "--concurrency", "1", "--no-quality",
        "--prompt", "Say three words", "--price", "2.5", "--report", str(page),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "baseline" in ran.out
    assert "USD a M tokens" in ran.out
    assert "> Say three words" in ran.out
    assert len([line for line in ran.out.splitlines() if ": one two three" in line]) == 2
    assert page.stat().st_size > 1000
    shown = workbench("report", "last", "--json")
    assert shown.code == 0
    kept = workbench("results", "--json").json[0]
    assert (kept["kind"], len(kept["subjects"])) == ("comparison", 2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bench", "nothing"), 2, "No engine is called 'nothing'"),
        (("bench", "ENGINE", "--input", "many"), 2, "not a length in tokens"),
        (("bench", "ENGINE", "--concurrency", "0"), 2, "not a list of numbers above 0"),
        (("bench", "ENGINE", "--rate", "1", "--concurrency", "1"), 2, "exclude each other"),
        (("bench", "ENGINE", "--report", "result.docx"), 2, "told by its ending"),
        (("bench", "ENGINE", "--report", "/no/such/folder/r.html"), 2, "folder is not there"),
        (("bench", "ENGINE", "--baseline", "yesterday"), 2, "No result is called"),
        (("bench", "ENGINE", "--file", "/no/such/prompts.jsonl", "--requests", "1"), 2, "/no/such/prompts.jsonl"),
        (("compare", "ENGINE"), 2, "two variants"),
        (("compare", "ENGINE", "--simulate", "fp7"), 2, "cannot be simulated"),
        (("compare", "ENGINE", "--simulate", "fp8", "--text", "/no/such.txt"), 2, "The text for the perplexity"),
        (("compare", "ENGINE", "--simulate", "fp8", "--task", "/no/such.csv"), 2, "The file of questions"),
        (("compare", "ENGINE", "ENGINE", "--no-quality", "--task", "t.jsonl"), 2, "--no-quality leaves out"),
        (("report", "last"), 2, "Nothing was measured yet"),
    ],
)
def test_bad_input_is_said_before_anything_is_measured(
    arguments: tuple[str, ...], code: int, words: str, engine: str, home: Home
) -> None:
    ran = workbench(*(engine if word == "ENGINE" else word for word in arguments))
    assert ran.code == code, ran.out + ran.err
    assert words in ran.err
    assert not list(home.runs.glob("*/points/*")) and not list(home.comparisons.glob("*"))
