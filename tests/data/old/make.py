"""Makes the samples of a released version's files, with that version's own code.

Run it in a clone at that version's commit, in an environment with the test packages:

    PYTHONPATH=CLONE python tests/data/old/make.py OUT

`OUT/home` is then a home as that version leaves it, with `@HOME@` for its path; `OUT/files` what it writes elsewhere;
`OUT/store-mNNN.sql` its store after each migration, as SQL. See README.md beside this file.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from tests.fakes import comparisons
from tests.fakes.looks import keep_look
from tests.fakes.nvml import GIB, FakeGpu, FakeProcess
from tests.fakes.plans import scripted_plan, scripted_step
from tests.jobs.test_burst import on_wire, tokens
from tests.telemetry.test_hub import PID, Bench
from workbench import __version__
from workbench.core.answer import EngineRef
from workbench.core.data import resource
from workbench.core.digest import file_stamp
from workbench.core.home import Home
from workbench.core.host import read_host
from workbench.core.measure.run_file import write_run
from workbench.core.messages import Finished, Ready, Sampling, Stats, Usage
from workbench.core.preset import apply_overrides, find_preset, save_preset
from workbench.core.serving import ServeReading, ServeSpec, ServeState
from workbench.core.target import Target
from workbench.jobs import client
from workbench.measure.kept import report_of, write_report
from workbench.serve.folder import create as create_serving
from workbench.store.bursts import keep_burst
from workbench.store.migrations import MIGRATIONS
from workbench.store.notes import Note, write_note
from workbench.store.prompts import SavedPrompt, write_prompt
from workbench.store.store import Store
from workbench.telemetry.hub import Telemetry
from workbench.telemetry.recording import write as write_recording
from workbench.toolchains.endpoint.folder import add_endpoint, new_spec
from workbench.toolchains.targets import save_target
from workbench.ui.recorded import recorded_home
from workbench.ui.session import STATE_FILE, State

RECORDED_JOB, RECORDED_ENGINE = "20261121-083520-dc4d", "SmolLM2-135M-Instruct-int8-6a752b9b3bc7"


def main(out: Path) -> None:
    out.mkdir(parents=True)
    place = Path("/tmp") / f"old-home-{secrets.token_hex(3)}"
    try:
        home = recorded_home(place)
        keep_only_one(home)
        fill(home, out / "files")
        dumps(home, out)
        copy_home(home, out / "home")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def keep_only_one(home: Home) -> None:
    """Of the recorded builds one job and one engine are enough."""
    for folder in (*home.jobs.iterdir(), *(home.artifacts / "engines").iterdir()):
        if folder.name not in (RECORDED_JOB, RECORDED_ENGINE):
            shutil.rmtree(folder)
    shutil.rmtree(home.artifacts / "models")


def fill(home: Home, files: Path) -> None:
    files.mkdir()
    build = scripted_step(home, "convert", [["write", "w.bin", "weights"]])
    look = scripted_step(home, "verify", [["log", "looked"]], after="convert", kind="verify",
                         folder=False, record="verify.json")  # fmt: skip
    assert client.wait(client.start(home, scripted_plan(build, look)), 60).status == "done"
    failing = scripted_step(home, "build", [["error", "The GPU is full.", "out-of-memory"]], kind="build")
    assert client.wait(client.start(home, scripted_plan(failing)), 60).status == "failed"

    save_own_preset(home)
    write_note(home, "0" * 64, Note(text="the one for the demo", tags=("demo", "kept")))
    write_prompt(home, SavedPrompt(name="Short", text="Say it in one word: {x}", system="Be brief."))
    burst(home)
    comparisons.LEVELS, comparisons.REPEATS = (1.0, 4.0), 1
    comparisons.kept(home.comparisons / comparisons.comparison().head.id)
    run = comparisons.comparison().run
    assert run is not None
    write_run(home.runs / run.head.id, run)
    write_report(report_of(run), files / "report.json")
    (files / "report.json").write_text(plain((files / "report.json").read_text(), home))
    write_recording(sampled(), files / "telemetry.jsonl.gz")
    target = Target(name="box", kind="ssh", host="anna@box", folder="/data/wb", python={"default": "/usr/bin/python3"})
    save_target(home, target)
    keep_look(home, target, gpus=2)
    add_endpoint(home, "box", new_spec(base_url="http://127.0.0.1:8000/v1", model="some/model", api="chat"))
    engine = home.artifacts / "engines" / RECORDED_ENGINE
    serving(home, engine)
    window(home)
    pytorch_engine(home, files)
    trtllm_engine(files)
    shutil.copyfile(resource("theme.json"), files / "theme.json")
    with Store.open(home) as store:
        store.sync()
        store.remember_digest(file_stamp(engine / "config.json"), "c" * 64)


def save_own_preset(home: Home) -> None:
    home.presets.mkdir()
    preset = apply_overrides(find_preset("demo"), ["precision.weights=int4", "precision.group_size=64"])
    path = home.presets / "mine.toml"
    save_preset(preset, path)
    path.write_text("# kept by hand\n" + path.read_text())


def burst(home: Home) -> None:
    ref = EngineRef(name="demo", toolchain="openvino", precision="int8")
    made, wire = on_wire(1, ["hi"], sampling=Sampling(seed=5), source="list.txt", engine=ref)
    first = wire.made[0]
    first.add(tokens("yes", 1, logprobs=[-0.25]), first.t0_s + 0.25)
    first.add(Finished(request="r0", reason="stop", usage=Usage(input_tokens=4, output_tokens=1)), first.t0_s + 0.3)
    keep_burst(home, made.id, made.to_json())


def sampled() -> Telemetry:
    bench = Bench(FakeGpu(used=60 * GIB, processes=[FakeProcess(PID, 50 * GIB)]))
    bench.read()
    track = bench.telemetry.attach_engine("e", "demo", "tensorrt_llm", PID, Ready(kv_blocks_total=100))
    for used in range(5):
        track.take(Stats(kv_blocks_used=used, kv_blocks_total=100, requests_active=2), bench.now + 0.5)
        bench.read()
    bench.telemetry.mark("burst x16", "burst")
    return bench.telemetry


def serving(home: Home, engine: Path) -> None:
    spec = ServeSpec(id="20261121-120000123-aa01", engine=str(engine), name="demo", model="demo", created_at=1.79e9)
    folder = create_serving(home.serving, spec)
    reading = ServeReading(at=1.79e9 + 5, requests=2, completed=2, input_tokens=20, output_tokens=9)
    folder.readings_path.write_text(reading.model_dump_json() + "\n")
    folder.write_state(ServeState(status="stopped", url="http://127.0.0.1:8000/v1", toolchain="openvino",
                                  program="engine host", started_at=1.79e9, ready_at=1.79e9 + 2))  # fmt: skip


def window(home: Home) -> None:
    state = State(home.root / STATE_FILE)
    for key, value in {
        "theme": "light", "page": "engines", "monitor.minutes": 15, "monitor.engines": True, "geometry": "AdnQywAD",
        "page.build": {"preset": "demo", "model": "/models/tiny"}, "monitor.dock": {"width": 360},
    }.items():  # fmt: skip
        state.put(key, value)
    assert state.save()


def pytorch_engine(home: Home, files: Path) -> None:
    """By the worker itself, over a tiny random model."""
    from tests.fakes.hf_folders import write_model

    model, made = write_model(home.cache / "tiny"), home.cache / "made"
    made.mkdir()
    spec = {"type": "spec", "protocol": 1, "worker": "pytorch.build", "settings": {"precision": "bf16"},
            "inputs": {"model": str(model)}, "output": str(made)}  # fmt: skip
    worker = [sys.executable, "-m", "workbench.workers.pytorch.build"]
    with subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(spec) + "\n")
        process.stdin.flush()  # it stays open: a worker ends with whoever started it
        said = process.stdout.read()
        process.stdin.close()
    assert (made / "engine.json").is_file(), said[-1500:]
    (files / "pytorch-engine.json").write_text(plain((made / "engine.json").read_text(), home))
    shutil.rmtree(model)
    shutil.rmtree(made)


def trtllm_engine(files: Path) -> None:
    """By the worker's own words, over what the stand-in of trtllm-build leaves."""
    from tests.fakes.trtllm_engines import make_trtllm_engine
    from workbench.core.trtllm.log import BuildLog
    from workbench.workers.trtllm.build import _notes
    from workbench.workers.trtllm.common import Gpu, read_engine_config

    with tempfile.TemporaryDirectory() as place:
        engine = make_trtllm_engine(Path(place) / "engine")
        gpu = Gpu(0, "NVIDIA H100 80GB HBM3", "GPU-1", "9.0", 80 << 30, False)
        notes = _notes(read_engine_config(engine), [gpu], BuildLog())
    (files / "trtllm-engine.json").write_text(json.dumps(notes, indent=1) + "\n")


def dumps(home: Home, out: Path) -> None:
    """The store as SQL after each migration: tables by the version's own migrations, rows as its store has them."""
    whole = sqlite3.connect(home.database)
    for number in range(1, len(MIGRATIONS) + 1):
        db = sqlite3.connect(":memory:", isolation_level=None)
        db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)")
        for migration in MIGRATIONS[:number]:
            migration(db)
            db.execute("INSERT INTO migrations VALUES (?, ?)", (migration.__name__, 1.79e9))
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in names:
            if table != "migrations":
                columns = ", ".join(row[1] for row in db.execute(f"PRAGMA table_info({table})"))
                for row in whole.execute(f"SELECT {columns} FROM {table}"):
                    marks = ", ".join("?" * len(row))
                    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)
        text = "\n".join(db.iterdump()) + "\n"
        (out / f"store-m{number:03d}.sql").write_text(plain(text, home))
        db.close()
    whole.close()


def plain(text: str, home: Home) -> str:
    """Without what belongs to the machine that made it."""
    host = read_host()
    known = {str(home.root): "@HOME@", sys.executable: "/env/bin/python", str(Path.cwd()): "/src",
             host.cpu_identity: "f" * 16, host.cpu_name: "a processor"}  # fmt: skip
    for own, stands_for in known.items():
        text = text.replace(own, stands_for)
    return text


def copy_home(home: Home, place: Path) -> None:
    """Small files as they are, with `@HOME@` for the home; of the weights nothing (the provenance has their sizes)."""
    for path in kept_files(home.root):
        target = place / path.relative_to(home.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            shutil.copyfile(path, target)
        else:
            target.write_text(plain(path.read_text("utf-8"), home), "utf-8")


def kept_files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name.startswith("store.") or "lanes" in path.parts:
            continue
        size, left_out = path.stat().st_size, path.suffix in (".bin", ".xml", ".jinja", ".lock", ".sock")
        if not left_out and size < 64_000 and (size or path.suffix in (".jsonl", ".txt")):
            yield path


if __name__ == "__main__":
    began = time.monotonic()
    main(Path(sys.argv[1]))
    print(f"samples of {__version__} made in {math.ceil(time.monotonic() - began)} s: {sys.argv[1]}")
