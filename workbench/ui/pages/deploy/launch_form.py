"""What may be chosen of a launch folder; the names are the command line's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from workbench.core.deploy.export import Export
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.launch import PYTHON_IMAGE, LaunchOptions
from workbench.core.deploy.slurm import SlurmOptions
from workbench.core.home import Home
from workbench.deploy.launch import make_launch
from workbench.ui.models.deploying import DeployEngine
from workbench.ui.pages.deploy.form_parts import LABEL, WIDE, card, folder_field, framed, padded, padded_fields
from workbench.ui.pages.deploy.runtime import RuntimeFields
from workbench.ui.widgets.basics import MARGIN
from workbench.ui.widgets.fields import Field, whole
from workbench.ui.widgets.fold import Fold

_HOSTS = "node1,node2"


class LaunchForm(QWidget):
    """`changed` is sent when a person changed something."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.model = Field("Model name", str, empty="the engine's", wide=True, tip="--model")
        self.port = Field("Port", whole(1, 65_535), tip="--port: where the server listens there")
        self.tokenizer = folder_field("Tokenizer", "the engine's own", "--tokenizer: folder with its files", self)
        self.gpu = Field(
            "GPU there", str, empty="not said", wide=True, tip="--gpu: such as H100, as the catalogue has it"
        )
        self.gpus_per_node = Field("GPUs a node", whole(1, 1024), empty="auto", tip="--gpus-per-node")
        self.nodes = Field("Nodes", whole(1, 10_000), empty="auto", tip="--nodes: how many machines there are")
        self.hosts = Field("Hosts", str, empty=_HOSTS, wide=True, tip="--hosts: their names, for MPI's hostfile")
        self.image = Field("Container", str, empty="of the engine's version", wide=True, tip="--image")
        self.partition = Field("Partition", str, empty="Slurm's default", wide=True, tip="--partition")
        self.account = Field("Account", str, empty="Slurm's default", wide=True, tip="--account")
        self.time_limit = Field("Time limit", str, empty="4:00:00", tip="--time, as sbatch takes it")
        self.runtime = RuntimeFields()
        self._lay_out()
        self.restore({})
        for field in self._fields().values():
            field.changed.connect(self._edited)
        self.runtime.changed.connect(self._edited)

    def _fields(self) -> dict[str, Field]:
        return {
            "model": self.model, "port": self.port, "tokenizer": self.tokenizer, "gpu": self.gpu,
            "gpus_per_node": self.gpus_per_node, "nodes": self.nodes, "hosts": self.hosts, "image": self.image,
            "partition": self.partition, "account": self.account, "time_limit": self.time_limit,
        }  # fmt: skip

    def _lay_out(self) -> None:
        for field in self._fields().values():
            field.label.setMinimumWidth(LABEL)
        for field in (self.model, self.gpu, self.hosts, self.image, self.partition, self.account):
            field.edit.setFixedWidth(WIDE)
        there = card("Launch folder", self.model, self.port, self.tokenizer, self.image)
        self.gpus_card = card("GPUs and nodes there", self.gpu, self.gpus_per_node, self.nodes)
        self.cluster = Fold(
            "Slurm and MPI",
            padded_fields(self.hosts, self.partition, self.account, self.time_limit),
            is_open=False,
        )
        self.runtime_fold = Fold("Runtime", padded(self.runtime), is_open=False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(MARGIN)
        for part in (there, self.gpus_card, framed(self.cluster, self.runtime_fold)):
            layout.addWidget(part)
        layout.addStretch(1)

    def show_engine(self, engine: DeployEngine | None) -> None:
        """Offer what counts for this engine."""
        facts = engine.facts if engine is not None else None
        self.gpus_card.setVisible(facts is None or facts.on_gpu)
        self.cluster.setVisible(facts is None or facts.world_size > 1)
        self.tokenizer.set_shown(facts is None or facts.toolchain == "tensorrt_llm")
        of_version = facts is None or facts.toolchain == "tensorrt_llm"
        usual = "of the engine's version" if of_version else PYTHON_IMAGE.rpartition("/")[2]
        self.image.edit.setPlaceholderText(usual)
        self.model.edit.setToolTip(f"Empty: {facts.slug}" if facts is not None else "")
        self.runtime.show_engine(
            engine.built if engine is not None else None,
            engine.runtime_settings if engine is not None else frozenset(),
        )

    # -- what it says

    def asked(self) -> LaunchOptions:
        """All of it. Raises ValueError with words for people."""
        if wrong := [words for field in self._fields().values() if (words := field.check())]:
            raise ValueError(wrong[0])
        hosts = self.hosts.value() or ""
        return LaunchOptions(
            model=self.model.value() or "",
            port=self.port.value(),
            tokenizer=self.tokenizer.value(),
            gpu=self.gpu.value() or "",
            gpus_per_node=self.gpus_per_node.value(),
            nodes=self.nodes.value(),
            hosts=tuple(name.strip() for name in hosts.split(",") if name.strip()),
            image=self.image.value() or "",
            slurm=SlurmOptions(self.partition.value() or "", self.account.value() or "", self.time_limit.value() or ""),
        )

    def maker(self, _: Home, engine: Path) -> Callable[[], Export]:
        """What makes the export of an engine in the background. Raises ValueError or BadInputError."""
        return partial(_make, engine, self.asked(), self.runtime.overrides())

    def command(self, engine: Path, out: str = "FOLDER") -> tuple[str, ...]:
        """What does the same on the command line."""
        words = ["workbench", "export", "launch", str(engine), "--out", out]
        for flag, field in (
            ("--model", self.model), ("--port", self.port), ("--tokenizer", self.tokenizer), ("--gpu", self.gpu),
            ("--gpus-per-node", self.gpus_per_node), ("--nodes", self.nodes), ("--hosts", self.hosts),
            ("--image", self.image), ("--partition", self.partition), ("--account", self.account),
            ("--time", self.time_limit),
        ):  # fmt: skip
            if field.text() and not (field is self.port and field.text() == str(LaunchOptions().port)):
                words += [flag, field.text()]
        for item in self.runtime.overrides():
            words += ["--set", item]
        return tuple(words)

    def _edited(self) -> None:
        self.changed.emit()

    # -- between starts

    def state(self) -> dict[str, Any]:
        return {name: field.text() for name, field in self._fields().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take these values; what is missing is as usual."""
        for name, field in self._fields().items():
            text = state.get(name)
            field.set_text(text if isinstance(text, str) else str(LaunchOptions().port) if name == "port" else "")


def _make(engine: Path, options: LaunchOptions, overrides: tuple[str, ...]) -> Export:
    # Read anew each time: a rank that was copied meanwhile counts.
    return make_launch(read_engine_facts(engine, allow_missing=True), options, overrides)
