"""Bad input through the real command: the right exit code, words that name the cause, nothing half-written."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import ROOT, workbench
from tests.fakes.models import make_config_folder, make_tiny_folder
from tests.fakes.plans import scripted_plan, scripted_step
from workbench.core.home import Home
from workbench.core.serving import ServeSpec
from workbench.jobs import client
from workbench.serve.folder import create


def untouched(home: Home) -> bool:
    """No job was made and no artefact begun."""
    return not list(home.jobs.iterdir()) and not list(home.artifacts.rglob("*"))


def _edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def missing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def a_file(folder: Path) -> None:
    missing(folder)
    folder.write_text("not a folder")


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    os.truncate(path, path.stat().st_size - 1000)


def corrupt_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[8:40] = b"\xff" * 32
    path.write_bytes(data)


def not_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": [')


def lacks_fields(folder: Path) -> None:
    _edit_config(folder, num_hidden_layers=None, vocab_size=None)


def unknown_architecture(folder: Path) -> None:
    _edit_config(folder, architectures=["LlamoForCausalLM"], model_type="llamo")


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def custom_code(folder: Path) -> None:
    _edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Model"})


MODELS: list[tuple[Callable[[Path], None], str]] = [
    (missing, "no-such"),
    (empty, "empty"),
    (a_file, "file"),
    (truncated, "model.safetensors"),
    (corrupt_header, "model.safetensors"),
    (not_json, "line 1"),
    (lacks_fields, "num_hidden_layers"),
    (unknown_architecture, "LlamaForCausalLM"),
    (no_tokenizer, "tokenizer"),
    (pickle_only, "pickle"),
    (custom_code, "trust_remote_code"),
]


@pytest.mark.parametrize(("spoil", "word"), MODELS, ids=[spoil.__name__ for spoil, _ in MODELS])
def test_a_model_folder_that_cannot_be_used(
    home: Home, tmp_path: Path, spoil: Callable[[Path], None], word: str
) -> None:
    folder = make_tiny_folder(tmp_path / "no-such-model")
    spoil(folder)
    ran = workbench("build", "cpu-int8", "--model", str(folder), "--out", str(tmp_path / "out"))
    assert ran.code == 2, ran.err
    assert word in ran.err and ran.out == ""
    assert "To do:" in ran.err
    assert untouched(home) and not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_model_folder_that_may_not_be_read(home: Home, tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "model")
    folder.chmod(0)
    try:
        ran = workbench("check", "cpu-int8", "--model", str(folder))
    finally:
        folder.chmod(0o700)
    assert ran.code == 2 and "may not" in ran.err


def test_a_quantized_model_is_blocked_with_the_reason(home: Home, tmp_path: Path) -> None:
    folder = make_config_folder(
        tmp_path / "m", quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128}
    )
    make_tiny_folder(folder, quantization_config={"quant_method": "fp8", "activation_scheme": "dynamic"})
    ran = workbench("check", "cpu-int8", "--model", str(folder))
    assert ran.code == 3, ran.err
    assert "fp8" in ran.err and "full precision" in ran.err


PRESETS = [
    ('[precision]\nweights = "int8"\nwieghts = "int8"\n', ["line 7", "precision.wieghts", "precision.weights"]),
    ('[precision]\nweights = "int9"\n', ["line 6", "int8"]),
    ("[precision]\nweights = 8\n", ["line 6", "precision.weights"]),
    ('[precision]\nweights = "int8\n', ["line 6"]),
    ('[precision]\nweights = "int8"\n[limits]\nmax_batch_size = "many"\n', ["line 8", "limits.max_batch_size"]),
]


@pytest.mark.parametrize(("table", "words"), PRESETS, ids=[p[0].splitlines()[-1] for p in PRESETS])
def test_a_preset_with_a_mistake_names_file_line_and_nearest(
    home: Home, tmp_path: Path, table: str, words: list[str]
) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text(f'schema = 1\ntitle = "Mine"\ngoal = "latency"\ntoolchain = "openvino"\n{table}')
    ran = workbench("check", str(preset), "--model", str(make_tiny_folder(tmp_path / "m")))
    assert ran.code == 2, ran.err
    for word in ["mine.toml", *words]:
        assert word in ran.err, ran.err


ARGUMENTS = [
    (["check", "cpu-int", "--model", "MODEL"], 2, "cpu-int8"),
    (["check", "cpu-int8", "--model", "MODEL", "--set", "precision.wieghts=int4"], 2, "precision.weights"),
    (["check", "cpu-int8", "--model", "MODEL", "--set", "limits.max_batch_size=lots"], 2, "max_batch_size"),
    (["check", "cpu-int8", "--model", "MODEL", "--precision", "int9"], 2, "int9"),
    (["check", "cpu-int8", "--model", "MODEL", "--precision", "fp8"], 3, "Nearest"),
    (["build", "cpu-int8", "--model", "MODEL", "--until", "bake"], 2, "bake"),
    (["build", "cpu-int8", "--model", "no-org/no-model", "--dry-run"], 2, "downloads"),
    (["build", "cpu-int8"], 2, "--model"),
    (["check", "cpu-int8", "--model", "MODEL", "--set", "parallel.tp=2"], 3, "parallel"),
    (["check", "cpu-int8", "--model", "MODEL", "--precision", ","], 2, "names no precision"),
    (["check", "cpu-int4", "--model", "MODEL", "--set", "precision.group_size=128"], 3, "group_size="),
    (["build", "cpu-int8", "--model", "MODEL", "--out", "~nobody-at-all/x/y.partial"], 2, ".partial"),
    (["check", "cpu-int8", "--model", "~nobody-at-all/model"], 2, "nobody-at-all"),
    (["build", "cpu-int8", "--model", "MODEL", "--out", "HOME/jobs/mine"], 2, "uses itself"),
    (["prompt", "nonesuch", "hi"], 2, "nonesuch"),
    (["prompt", "/", "hi"], 2, "provenance"),
    (["prompt", "last", ""], 2, "empty"),
    (["engines", "show", "nonesuch"], 2, "nonesuch"),
    (["engines", "rm", "nonesuch", "--yes"], 2, "nonesuch"),
    (["jobs", "log", "nonesuch"], 2, "nonesuch"),
    (["jobs", "cancel", "nonesuch"], 2, "nonesuch"),
    (["jobs", "retry", "nonesuch"], 2, "nonesuch"),
    (["nonesuch"], 2, "nonesuch"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code", "word"), ARGUMENTS, ids=[" ".join(row[0]) for row in ARGUMENTS])
def test_arguments_that_cannot_be_used(home: Home, tmp_path: Path, arguments: list[str], code: int, word: str) -> None:
    model = str(make_tiny_folder(tmp_path / "model"))
    ran = workbench(*[model if a == "MODEL" else a.replace("HOME", str(home.root)) for a in arguments])
    assert ran.code == code, ran.err
    assert word in ran.err
    assert untouched(home)


def test_an_output_folder_that_exists_is_never_overwritten(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("keep me")
    ran = workbench("build", "cpu-int8", "--model", str(make_tiny_folder(tmp_path / "m")), "--out", str(out))
    assert ran.code == 2 and "nothing that exists is overwritten" in ran.err
    assert [p.name for p in out.iterdir()] == ["precious"] and untouched(home)


def test_an_output_folder_below_a_file(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "engine"
    ran = workbench("build", "cpu-int8", "--model", str(make_tiny_folder(tmp_path / "m")), "--out", str(out))
    assert ran.code == 2 and "is a file" in ran.err and untouched(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount")
def test_an_output_folder_that_is_read_only(home: Home, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        model = str(make_tiny_folder(tmp_path / "m"))
        ran = workbench("build", "cpu-int8", "--model", model, "--out", str(place / "engine"))
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert ran.code == 2 and "may not be written" in ran.err and untouched(home)


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = workbench("jobs", env={"WORKBENCH_HOME": str(tmp_path / "file" / "home")})
    assert ran.code == 2 and "WORKBENCH_HOME" in ran.err


@pytest.mark.slow
def test_no_interpreter_holds_the_toolchain(home: Home, tmp_path: Path) -> None:
    """A bare virtual environment has no OpenVINO, and is asked for it for real."""
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    ran = workbench("doctor", "--json", env={"WORKBENCH_OPENVINO_PYTHON": python})
    rows = ran.json["toolchains"][0]["environments"]
    assert rows[0]["interpreter"] == python and not rows[0]["usable"]
    assert rows[0]["problem"] or "openvino" in rows[0]["missing"]


def test_errors_as_json_are_one_object(home: Home, tmp_path: Path) -> None:
    ran = workbench("check", "cpu-int8", "--model", str(tmp_path / "none"), "--json")
    assert ran.code == 2
    assert set(ran.json["error"]) == {"code", "what", "evidence", "fix", "exit_code"}


@pytest.mark.slow
def test_a_damaged_store_is_kept_aside_said_and_rebuilt(home: Home) -> None:
    assert workbench("engines").code == 0
    home.database.write_bytes(b"this is not a database " * 1000)
    ran = workbench("engines")
    assert ran.code == 0 and "damaged" in ran.err
    assert list(home.root.glob("store-damaged-*.sqlite"))
    again = workbench("engines")
    assert again.code == 0 and "damaged" not in again.err


@pytest.mark.slow
def test_removing_takes_an_engines_own_files_and_nothing_else(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "made"
    step = scripted_step(home, "build", [["write", "sub/w", "x"]], kind="build", out=out)
    assert client.wait(client.start(home, scripted_plan(step)), 60).status == "done"
    refused = workbench("engines", "rm", str(out), "--yes")
    assert refused.code == 2 and "--all" in refused.err and (out / "sub" / "w").exists()
    (out / "notes.md").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(out)
    unasked = workbench("engines", "rm", str(link), "--all")
    assert unasked.code == 2 and "--yes" in unasked.err and (out / "sub" / "w").exists()
    served = create(home.serving, ServeSpec(id="s1", engine=str(out), name="made", model="m"))
    with served.lock_path.open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = workbench("engines", "rm", str(link), "--all", "--yes")
    assert busy.code == 2 and "made is being served" in busy.err and "workbench serve stop s1" in busy.err
    assert (out / "sub" / "w").exists()
    ran = workbench("engines", "rm", str(link), "--all", "--yes")
    assert ran.code == 0 and "notes.md" in ran.err
    assert [p.name for p in out.iterdir()] == ["notes.md"]
    again = workbench("check", "cpu-int8", "--model", str(out))
    assert again.code == 2


@pytest.mark.slow
def test_an_artefact_that_is_no_model_is_told_apart(home: Home, tmp_path: Path) -> None:
    out = tmp_path / "made"
    step = scripted_step(home, "convert", [["write", "w", "x"]], out=out)
    assert client.wait(client.start(home, scripted_plan(step)), 60).status == "done"
    ran = workbench("check", "cpu-int8", "--model", str(out))
    assert ran.code == 2 and "is a checkpoint, not a model folder" in ran.err


def test_a_reader_that_goes_away_is_no_error(home: Home) -> None:
    script = f"{sys.executable} -m workbench presets | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "0" and "Traceback" not in ran.stderr
