"""Launch folders before they are written: layout, checks, scripts that hold together."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.fakes.trtllm_engines import make_trtllm_engine
from workbench.core.data import resource
from workbench.core.deploy.checks import spread
from workbench.core.deploy.export import Export
from workbench.core.deploy.facts import EngineFacts, read_engine_facts
from workbench.core.deploy.launch import LaunchOptions, Server, launch_export
from workbench.core.deploy.slurm import SlurmOptions, batch_script, hostfile
from workbench.core.errors import BadInputError

SERVER = Server(("--backend", "tensorrt", "--max_batch_size", "8"), "{}\n")


@pytest.fixture(scope="module")
def tp2(tmp_path_factory: pytest.TempPathFactory) -> EngineFacts:
    return read_engine_facts(make_trtllm_engine(tmp_path_factory.mktemp("launch") / "tp2", tp=2))


def text_of(export: Export, path: str) -> str:
    return next(text.text for text in export.texts if text.path == path)


def sourced(settings: str, name: str) -> str:
    """A value of settings.sh as the scripts see it."""
    return subprocess.run(
        ["bash", "-euc", f'{settings}\nprintf "%s|" "${{{name}[@]}}"'], capture_output=True, text=True, check=True
    ).stdout.removesuffix("|")


@pytest.mark.parametrize(
    ("world", "gpus_per_node", "nodes", "expected"),
    [
        (1, None, None, (1, 1)),
        (8, None, None, (1, 8)),
        (16, None, None, (2, 8)),
        (16, 4, None, (4, 4)),
        (2, 8, None, (1, 2)),
        (2, None, 2, (2, 1)),
        (6, 4, None, (2, 4)),
    ],
)
def test_processes_over_nodes(
    world: int, gpus_per_node: int | None, nodes: int | None, expected: tuple[int, int]
) -> None:
    assert spread(world, gpus_per_node, nodes) == expected


def test_a_folder_for_two_gpus_of_one_machine(tp2: EngineFacts) -> None:
    export = launch_export(tp2, LaunchOptions(port=9000, gpu="H100"), SERVER)
    assert not export.failed and export.name == "tiny-fp8-tp2-launch"
    assert [text.path for text in export.texts] == [
        "README.md", "check-node.sh", "compose.yaml", "hostfile", "job.sbatch", "run-mpi.sh", "run.sh", "serve.yaml",
        "settings.sh", "smoke-test.sh",
    ]  # fmt: skip
    assert [copied.path for copied in export.copies] == [
        "engine/tiny-fp8-tp2/config.json", "engine/tiny-fp8-tp2/rank0.engine", "engine/tiny-fp8-tp2/rank1.engine",
        "tokenizer/generation_config.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json",
    ]  # fmt: skip
    settings = text_of(export, "settings.sh")
    assert sourced(settings, "SERVE_ARGUMENTS") == "--backend|tensorrt|--max_batch_size|8"
    assert (sourced(settings, "WORLD_SIZE"), sourced(settings, "SHAPE")) == ("2", "tp 2 x pp 1")
    assert (sourced(settings, "COMPUTE_CAPABILITY"), sourced(settings, "DEFAULT_PORT")) == ("9.0", "9000")
    service = yaml.safe_load(text_of(export, "compose.yaml"))["services"]["engine"]
    assert service["image"] == "nvcr.io/nvidia/tensorrt-llm/release:1.2.1"
    assert (service["environment"]["LISTEN"], service["environment"]["PORT"]) == (
        "${LISTEN:-127.0.0.1}",
        "${PORT:-9000}",
    )
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2
    assert service["cap_drop"] == ["ALL"] and service["volumes"] == [".:/launch:ro"]
    assert text_of(export, "hostfile") == "localhost slots=2\n"


def test_values_reach_the_scripts_as_they_are(tp2: EngineFacts) -> None:
    nasty = "$(touch /tmp/x) `id` 'quoted' \"twice\" \\ ; rm -rf /"
    server = Server(("--chat_template", nasty, ""), "{}\n")
    settings = text_of(launch_export(replace(tp2, name=nasty), LaunchOptions(model="m"), server), "settings.sh")
    assert sourced(settings, "ENGINE_NAME") == nasty
    assert sourced(settings, "SERVE_ARGUMENTS") == f"--chat_template|{nasty}|"


def test_several_nodes(tp2: EngineFacts) -> None:
    options = LaunchOptions(
        port=9000, gpus_per_node=1, hosts=("a1", "a2.cluster"), slurm=SlurmOptions("gpu", "lab-7", "1-02:00:00")
    )
    export = launch_export(tp2, options, SERVER)
    assert not export.failed
    warned = [check.name for check in export.checks if not check.ok]
    assert warned == ["tensor parallel GPUs share a node"]
    assert text_of(export, "hostfile") == "a1 slots=1\na2.cluster slots=1\n"
    head = [line for line in text_of(export, "job.sbatch").splitlines() if line.startswith("#SBATCH")]
    assert head == [
        "#SBATCH --job-name=tiny-fp8-tp2",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --output=slurm-%j.log",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab-7",
        "#SBATCH --time=1-02:00:00",
    ]
    assert "compose.yaml" not in [text.path for text in export.texts]
    assert ("sbatch", "job.sbatch") in export.commands
    readme = text_of(export, "README.md")
    assert "2 GPUs, 1 on each of 2 nodes" in readme and "ssh -L 9000:127.0.0.1:9000" in readme


@pytest.mark.parametrize(
    ("options", "failed"),
    [
        (LaunchOptions(gpu="L40S"), "the GPU is of the kind it was built for"),
        (LaunchOptions(gpus_per_node=1, nodes=1), "there are enough GPUs"),
        (LaunchOptions(tokenizer=Path("/nonexistent")), "the tokenizer is there"),
    ],
)
def test_what_would_not_run_there(tp2: EngineFacts, options: LaunchOptions, failed: str) -> None:
    checks = launch_export(tp2, options, SERVER).failed
    assert [check.name for check in checks] == [failed] and checks[0].found and checks[0].fix


def test_options_that_mean_nothing_to_an_engine_are_said(tp2: EngineFacts) -> None:
    slurm = LaunchOptions(hosts=("a", "b"), slurm=SlurmOptions("gpu"))
    single = replace(tp2, tp=1, world_size=1, ranks_present=(0,))
    (said,) = [note for note in launch_export(single, slurm, SERVER).notes if "Not used" in note]
    assert "--hosts, --partition" in said and "one GPU" in said
    ours = replace(single, toolchain="openvino", on_gpu=False)
    options = LaunchOptions(tokenizer=Path("/x"), gpu="H100", nodes=2)
    (said,) = [note for note in launch_export(ours, options, Server()).notes if "Not used" in note]
    assert "--tokenizer, --gpu, --nodes" in said
    assert not any("Not used" in note for note in launch_export(tp2, LaunchOptions(gpu="H100"), SERVER).notes)


def test_missing_ranks_and_odd_layouts_are_checks(tp2: EngineFacts) -> None:
    broken = replace(tp2, ranks_present=(0,), ranks_missing=(1,), tp=6, world_size=6)
    failed = {check.name: check.found for check in launch_export(broken, LaunchOptions(gpus_per_node=4), SERVER).failed}
    assert failed["all ranks are there"].endswith("missing: rank1.engine")
    assert failed["the processes fill the nodes equally"] == "6 processes on 2 nodes of 4 GPUs"


@pytest.mark.parametrize(
    "options",
    [
        LaunchOptions(model="../up"),
        LaunchOptions(model="a b"),
        LaunchOptions(port=0),
        LaunchOptions(image="x; rm"),
        LaunchOptions(gpu="H1000000"),
        LaunchOptions(gpus_per_node=1, hosts=("one",)),
        LaunchOptions(hosts=("a b",)),
        LaunchOptions(slurm=SlurmOptions(partition="x\n#SBATCH --uid=0")),
        LaunchOptions(slurm=SlurmOptions(time_limit="soon")),
    ],
)
def test_options_that_cannot_be(tp2: EngineFacts, options: LaunchOptions) -> None:
    with pytest.raises(BadInputError):
        launch_export(tp2, options, SERVER)


def test_hosts_of_a_cluster_that_nobody_named() -> None:
    assert hostfile((), 2, 8) is None and hostfile((), 1, 8) == "localhost slots=8\n"


def scripts() -> dict[str, str]:
    found = {path.name: path.read_text() for path in resource("deploy/launch").glob("*.sh")}
    return {**found, "job.sbatch": batch_script("e", 2, 8, SlurmOptions())}


@pytest.mark.parametrize("name", sorted(scripts()))
def test_scripts_parse(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(scripts()[name])
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if checker := shutil.which("shellcheck"):
        done = subprocess.run([checker, "-s", "bash", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    assert not re.search(r"@[A-Z_]+@|\bTODO\b|\{\{", scripts()[name]), "a placeholder is left"


def test_the_servers_requirements_are_the_projects_own() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for line in (resource("deploy/launch") / "requirements-serve.txt").read_text().splitlines():
        assert f'"{line}"' in project, line
