"""What may be chosen of a Triton export; the names are the command line's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from workbench.core.deploy.export import Export
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.triton.baseline import baseline_of
from workbench.core.deploy.triton.export import triton_export
from workbench.core.deploy.triton.options import TritonOptions
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.measure.record import RunRecord
from workbench.measure.kept import find_result, load_kept
from workbench.ui.pages.deploy.form_parts import LABEL, WIDE, WIDE_FOLDER, card, folder_field, framed, padded_fields
from workbench.ui.widgets.basics import MARGIN, icon_button
from workbench.ui.widgets.fields import Field, Segments, SwitchField, number, whole
from workbench.ui.widgets.fold import Fold

_PORTS = (("http_port", "HTTP port", 8000), ("grpc_port", "gRPC port", 8001), ("metrics_port", "Metrics port", 8002))


@dataclass(frozen=True)
class TritonAsked:
    """What the form says."""

    options: TritonOptions
    draft: Path | None = None
    """Engine that drafts; its facts are read with the export."""
    baseline: str = ""
    """Run of the engine that the alerts compare with: id, folder or `last`."""

    def make(self, home: Home, engine: Path) -> Export:
        """The export. Reads the engine's folder anew, so that a rank that was copied meanwhile counts."""
        facts = read_engine_facts(engine, allow_missing=True)
        options = self.options
        if self.draft is not None:
            options = replace(options, draft=read_engine_facts(self.draft, allow_missing=True))
        if self.baseline:
            run = load_kept(find_result(home, self.baseline, "bench"))
            if not isinstance(run, RunRecord):
                raise BadInputError(f"{self.baseline} is a comparison, not a run.", fix="Give a run of this engine.")
            options = replace(options, baseline=baseline_of(run, facts))
        return triton_export(facts, options)


class TritonForm(QWidget):
    """`changed` is sent when a person changed something."""

    changed = Signal()
    baseline_asked = Signal()
    """A person wants to choose the run that alerts compare with."""

    def __init__(self) -> None:
        super().__init__()
        self.form = Segments(
            "Form",
            (
                ("ensemble", "Ensemble", "C++ backend: preprocessing, tensorrt_llm, postprocessing, ensemble and BLS"),
                ("llmapi", "LLM API", "One model, answered by TensorRT-LLM's Python API"),
            ),
        )
        self.tokenizer = folder_field("Tokenizer", "the engine's own", "Folder with the tokenizer's files", self)
        self.kv_fraction = Field(
            "KV fraction", number(0.01, 1.0), hint="of free memory", tip="Share of what is free after loading"
        )
        self.delay = Field(
            "Queue delay", whole(0, 60_000_000), unit="µs", tip="How long the dynamic batcher waits for more requests"
        )
        self.instances = Field(
            "Instances", whole(1, 256), empty="auto", hint="pre- and post-", tip="Copies of pre- and postprocessing"
        )
        self.decoupled = SwitchField("Streaming", "decoupled: answers may come in pieces", on=True)
        self.copy_engine = SwitchField("Copy engine", "off: it is mounted from where it stands", on=True)
        self.kv_reuse = SwitchField("Block reuse", "KV blocks of equal beginnings, where the engine can", on=True)
        self.chunked = SwitchField("Chunked context", "long prompts in pieces, where the engine can", on=True)
        self.queue = Field("Queue size", whole(0, 1_000_000), hint="0: no limit")
        self.draft = folder_field("Draft engine", "none", "Engine that drafts for this one", self)
        self.draft_tokens = Field("Draft tokens", whole(1, 64), hint="a step")
        self.gpu_ids = Field("GPUs", _gpu_ids, empty="0,1", tip="--gpu-ids: by index, one a rank")
        self.gpus_here = Field("GPUs there", whole(0, 1024), empty="not said", tip="--gpus: of the machine it goes to")
        self.scheduler = Segments(
            "Scheduler",
            (
                ("guaranteed_no_evict", "No evict", "guaranteed_no_evict: what was begun is never paused"),
                ("max_utilization", "Utilization", "max_utilization: may pause requests when KV blocks run out"),
            ),
        )
        self.gpu = Field("GPU kind", str, empty="not said", tip="--gpu: of the machine it goes to, such as H100")
        self.kv_host = Field("KV in host", number(0, 2**20), unit="GiB", tip="--kv-host-bytes: for KV blocks that go")
        self.lookahead = Field(
            "Lookahead", _three, empty="7,7,7", tip="--lookahead: window, n-gram and verification set size"
        )
        self.choices = Field("Choices", str, empty="the backend's", wide=True, tip="--choices: tree of Medusa or EAGLE")
        self.host = Field("Address", str, wide=True, tip="--host: that the ports are published on")
        self.container = Field("Container", str, empty="by the engine's version", wide=True, tip="--container")
        choose_run = icon_button("benchmark", "Baseline: choose a run", self.baseline_asked.emit, flat=False)
        self.baseline = Field(
            "Baseline", str, empty="no run", wide=True, extra=(choose_run,),
            tip="--baseline: run that alerts compare with: id, folder, last",
        )  # fmt: skip
        self.ports = {name: Field(title, whole(1, 65_535)) for name, title, _ in _PORTS}
        self.nodes = Field("Nodes", whole(1, 1024))
        self._lay_out()
        self.restore({})
        for field in self._all():
            field.changed.connect(self._edited)

    def _fields(self) -> dict[str, Field]:
        return {
            "tokenizer": self.tokenizer, "kv_fraction": self.kv_fraction, "delay": self.delay,
            "instances": self.instances, "queue": self.queue, "draft": self.draft, "draft_tokens": self.draft_tokens,
            "nodes": self.nodes, "gpu_ids": self.gpu_ids, "gpus_here": self.gpus_here, "container": self.container,
            "gpu": self.gpu, "kv_host": self.kv_host, "lookahead": self.lookahead, "choices": self.choices,
            "host": self.host, "baseline": self.baseline, **self.ports,
        }  # fmt: skip

    def _switches(self) -> dict[str, SwitchField]:
        return {
            "decoupled": self.decoupled, "copy_engine": self.copy_engine, "kv_reuse": self.kv_reuse,
            "chunked": self.chunked,
        }  # fmt: skip

    def _all(self) -> list[Any]:
        return [self.form, self.scheduler, *self._fields().values(), *self._switches().values()]

    def _lay_out(self) -> None:
        for field in self._all():
            field.label.setMinimumWidth(LABEL)
        for field in (self.container, self.choices, self.host):
            field.edit.setFixedWidth(WIDE)
        self.baseline.edit.setFixedWidth(WIDE_FOLDER)
        made = card(
            "Triton model repository", self.form, self.tokenizer, self.kv_fraction, self.delay, self.instances,
            self.decoupled, self.copy_engine,
        )  # fmt: skip
        self.more = Fold(
            "More",
            padded_fields(
                self.scheduler, self.kv_reuse, self.chunked, self.kv_host, self.queue, self.gpu, self.gpus_here,
                self.gpu_ids, self.nodes, self.draft, self.draft_tokens, self.lookahead, self.choices, self.container,
                self.baseline, self.host, *self.ports.values(),
            ),
            is_open=False,
        )  # fmt: skip
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(MARGIN)
        layout.addWidget(made)
        layout.addWidget(framed(self.more))
        layout.addStretch(1)

    # -- what it says

    def asked(self) -> TritonAsked:
        """All of it. Raises ValueError or BadInputError with words for people."""
        wrong = [words for field in self._fields().values() if (words := field.check())]
        first = (self.tokenizer, self.kv_fraction, self.delay, self.instances)
        if any(field.problem.text() for field in self._fields().values() if field not in first):
            self.more.set_open(True)
        if wrong:
            raise ValueError(wrong[0])
        form: Any = self.form.value
        scheduler: Any = self.scheduler.value
        options = TritonOptions(
            form=form,
            tokenizer=self.tokenizer.value(),
            copy_engine=self.copy_engine.on,
            decoupled=self.decoupled.on,
            max_queue_delay_us=self.delay.value(),
            max_queue_size=self.queue.value(),
            instances=self.instances.value(),
            kv_fraction=self.kv_fraction.value(),
            kv_reuse=self.kv_reuse.on,
            chunked_context=self.chunked.on,
            nodes=self.nodes.value(),
            scheduler=scheduler,
            gpu_ids=self.gpu_ids.value() or (),
            gpus_here=self.gpus_here.value(),
            container=self.container.value() or "",
            gpu=self.gpu.value() or "",
            kv_host_bytes=_bytes(self.kv_host.value()),
            lookahead=self.lookahead.value(),
            choices=self.choices.value() or "",
            host=self.host.value(),
            draft_tokens=self.draft_tokens.value(),
            http_port=self.ports["http_port"].value(),
            grpc_port=self.ports["grpc_port"].value(),
            metrics_port=self.ports["metrics_port"].value(),
        )
        return TritonAsked(options, self.draft.value(), self.baseline.value() or "")

    def maker(self, home: Home, engine: Path) -> Callable[[], Export]:
        """What makes the export of an engine in the background. Raises ValueError or BadInputError."""
        return partial(self.asked().make, home, engine)

    def take_baseline(self, run: Path) -> None:
        """A run was chosen, by its folder."""
        self.baseline.set_text(run.name)
        self._edited()

    def command(self, engine: Path, out: str = "FOLDER") -> tuple[str, ...]:
        """What does the same on the command line."""
        plain = TritonOptions()
        words = ["workbench", "export", "triton", str(engine), "--out", out]
        words += ["--form", self.form.value] if self.form.value != plain.form else []
        words += ["--scheduler", self.scheduler.value] if self.scheduler.value != plain.scheduler else []
        for flag, field, usual in (
            ("--tokenizer", self.tokenizer, ""), ("--kv-fraction", self.kv_fraction, f"{plain.kv_fraction:g}"),
            ("--max-queue-delay-us", self.delay, str(plain.max_queue_delay_us)), ("--instances", self.instances, ""),
            ("--max-queue-size", self.queue, str(plain.max_queue_size)), ("--draft", self.draft, ""),
            ("--nodes", self.nodes, str(plain.nodes)), ("--gpu-ids", self.gpu_ids, ""), ("--gpus", self.gpus_here, ""),
            ("--container", self.container, ""), ("--baseline", self.baseline, ""), ("--gpu", self.gpu, ""),
            ("--lookahead", self.lookahead, ""), ("--choices", self.choices, ""), ("--host", self.host, plain.host),
            *((f"--{name.replace('_', '-')}", self.ports[name], str(port)) for name, _, port in _PORTS),
        ):  # fmt: skip
            if field.text() and field.text() != usual:
                words += [flag, field.text()]
        if self.kv_host.text() not in ("", "0"):
            words += ["--kv-host-bytes", str(_bytes(self.kv_host.value()))]
        if self.draft.text() and self.draft_tokens.text() != str(plain.draft_tokens):
            words += ["--draft-tokens", self.draft_tokens.text()]
        for flag, switch in (
            ("--no-decoupled", self.decoupled), ("--mount", self.copy_engine),
            ("--no-kv-reuse", self.kv_reuse), ("--no-chunked-context", self.chunked),
        ):  # fmt: skip
            words += [] if switch.on else [flag]
        return tuple(words)

    def _edited(self) -> None:
        self._show_use()
        self.changed.emit()

    def _show_use(self) -> None:
        ensemble = self.form.value == "ensemble"
        self.instances.set_shown(ensemble)
        self.delay.set_shown(ensemble)
        self.draft_tokens.set_shown(bool(self.draft.text()))

    # -- between starts

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: field.text() for name, field in self._fields().items()}
        found |= {name: field.on for name, field in self._switches().items()}
        return found | {"form": self.form.value, "scheduler": self.scheduler.value}

    def restore(self, state: dict[str, Any]) -> None:
        """Take these values; what is missing is as usual."""
        plain = TritonOptions()
        usual = {
            "kv_fraction": f"{plain.kv_fraction:g}",
            "delay": str(plain.max_queue_delay_us),
            "queue": str(plain.max_queue_size),
            "draft_tokens": str(plain.draft_tokens),
            "nodes": str(plain.nodes),
            "kv_host": "0",
            "host": plain.host,
            **{name: str(port) for name, _, port in _PORTS},
        }
        self.form.choose(str(state.get("form", plain.form)))
        self.scheduler.choose(str(state.get("scheduler", plain.scheduler)))
        for name, field in self._fields().items():
            text = state.get(name)
            field.set_text(text if isinstance(text, str) else usual.get(name, ""))
        for name, switch in self._switches().items():
            switch.switch.setChecked(state.get(name, True) is not False)
        self._show_use()


def _bytes(gib: float) -> int:
    return round(gib * 2**30)


def _three(text: str) -> tuple[int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise ValueError("Lookahead: three whole numbers with commas between them, such as 7,7,7.")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _gpu_ids(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError("GPUs: their indexes with commas between them, such as 0,1.")
    return tuple(int(part) for part in parts)
