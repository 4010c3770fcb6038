"""The presets as cards: what each is good for, whether it runs on this machine, why not, and what is nearest to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.estimate import weight_bytes
from workbench.core.galleries import preset_folders
from workbench.core.gpu import CATALOGUE, GpuSpec
from workbench.core.home import Home
from workbench.core.model import ModelSpec
from workbench.core.precision import (
    ComputeCapability,
    KvPrecision,
    Precision,
    ToolchainName,
    kv_supported,
    show_capability,
    supported,
)
from workbench.core.preflight_gpu import gpu_weight_bytes
from workbench.core.preset import Preset, PresetList, list_presets
from workbench.core.preset_schema import Goal
from workbench.core.units import format_bytes
from workbench.toolchains import get, names
from workbench.toolchains.environments import best_environment
from workbench.toolchains.gpus import detected_gpus, plan_gpus
from workbench.ui.models.gallery_rtx import gpus_of_targets, rtx_words

GOALS: tuple[tuple[Goal, str], ...] = (
    ("try-it", "Try it"),
    ("latency", "Latency"),
    ("throughput", "Throughput"),
    ("memory", "Smallest memory"),
    ("multi-gpu", "Multi-GPU"),
)
"""Goals in the gallery's order, with their titles."""
TOOLCHAIN_TITLES: dict[str, str] = {
    "openvino": "OpenVINO",
    "tensorrt_llm": "TensorRT-LLM",
    "pytorch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "tensorrt_rtx": "TensorRT-RTX",
}
RUNS_HERE = "runs here"
"""Value of the GPU filter that keeps what runs on this machine; "" keeps all, else it is a GPU's name."""
NO_GPU = "This machine has no NVIDIA GPU; plans and checkpoints can be made here."
TIMES = "\N{MULTIPLICATION SIGN}"
_CAPABILITIES = tuple(sorted({gpu.compute_capability for gpu in CATALOGUE.values()} | {(8, 0), (8, 9)}))


@dataclass(frozen=True)
class Card:
    """One preset of the gallery."""

    id: str
    title: str
    description: str
    goal: str
    toolchain: ToolchainName
    precision: Precision
    gpu: str
    """GPU that the preset is meant for; empty: any."""
    gpus: int
    """GPUs that one engine takes."""
    own: bool
    """From the person's own folder, not the shipped gallery."""
    runs_here: bool
    why_not: str = ""
    nearest: str = ""
    """Id of the preset that is most like it among those that run here; empty: none does, or it runs itself."""
    nearest_title: str = ""
    tp: int = 1
    pp: int = 1
    group_size: int | None = None
    """Weights that share a scale, where the preset says it."""
    built_here: bool = False
    """Its engine is built on this machine for others, and `why_not` says for which."""
    for_gpus: tuple[str, ...] = ()
    """GPUs of the catalogue that its engine is built for, where it is for several kinds."""

    @property
    def search_text(self) -> str:
        """What the search box looks at."""
        words = (self.title, self.description, self.id, self.precision.value, self.precision.title, self.gpu)
        return " ".join(words).casefold()


@dataclass(frozen=True)
class BrokenCard:
    """A file of the gallery that is no preset."""

    path: Path
    failure: Failure

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Group:
    """The cards of one goal."""

    goal: str
    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Gallery:
    """All that the pane shows: groups in order, none of them empty, and the files that cannot be read."""

    groups: tuple[Group, ...] = ()
    broken: tuple[BrokenCard, ...] = ()
    here: str = ""
    """This machine's GPUs in words; empty: it has none."""

    @property
    def cards(self) -> tuple[Card, ...]:
        """All cards, in order."""
        return tuple(card for group in self.groups for card in group.cards)

    @property
    def empty(self) -> bool:
        return not self.groups and not self.broken

    @property
    def gpu_names(self) -> tuple[str, ...]:
        """GPUs that presets are meant for, in the catalogue's order."""
        named = {card.gpu for card in self.cards}
        return tuple(name for name in CATALOGUE if name in named)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions that presets have, widest first."""
        used = {card.precision for card in self.cards}
        return tuple(precision for precision in Precision if precision in used)

    @property
    def toolchains(self) -> tuple[str, ...]:
        used = {card.toolchain for card in self.cards}
        return tuple(name for name in TOOLCHAIN_TITLES if name in used)

    def card(self, preset_id: str) -> Card | None:
        """The card of that id."""
        return next((card for card in self.cards if card.id == preset_id), None)


def read_gallery(home: Home, detected: tuple[GpuSpec, ...] | None = None) -> Gallery:
    """The person's presets and the shipped ones, judged for this machine.

    `detected`: its GPUs; None asks the driver. Blocks on the disk and, the first time, for seconds on each toolchain's
    interpreter: never call it on the GUI thread.
    """
    found = list_presets(preset_folders(home))
    gpus = detected_gpus() if detected is None else detected
    wanted = {preset.toolchain for preset in found.presets}
    # Without a GPU its toolchain's environment changes nothing of what the card says.
    asked = [name for name in sorted(wanted) if name != "tensorrt_llm" or gpus]
    return make_gallery(found, gpus, {name: lacking_words(name, home) for name in asked}, home.presets)


def lacking_words(toolchain: str, home: Home) -> str:
    """Why engines of a toolchain do not run here, whatever the GPU; empty: they do."""
    title = TOOLCHAIN_TITLES.get(toolchain, toolchain)
    if toolchain not in names():
        return f"This version has no {title} toolchain."
    try:
        usable = best_environment(get(toolchain), home, os.environ).usable
    except WorkbenchError as error:
        return error.what
    return "" if usable else f"{title} is not set up here; Doctor says what it lacks."


def make_gallery(found: PresetList, gpus: Sequence[GpuSpec], lacking: Mapping[str, str], own: Path) -> Gallery:
    """Cards of presets. `gpus` are this machine's, `lacking` says by toolchain why its engines do not run here, `own`
    is the folder of the person's presets."""
    cards = [_card(preset, judged(preset, gpus, lacking.get(preset.toolchain, "")), own) for preset in found.presets]
    able = [card for card in cards if card.runs_here]
    here = {gpu.name for gpu in gpus}
    cards = [card if card.runs_here else _with_nearest(card, able, here) for card in cards]
    # What can be taken at once stands first in its group.
    cards.sort(key=lambda card: (not card.runs_here, not card.built_here))
    groups = (Group(goal, title, tuple(c for c in cards if c.goal == goal)) for goal, title in GOALS)
    return Gallery(
        tuple(group for group in groups if group.cards),
        tuple(BrokenCard(each.path, each.failure) for each in found.broken),
        _in_words(gpus),
    )


def _card(preset: Preset, judgement: tuple[str, bool], own: Path) -> Card:
    why, built_here = judgement
    group = preset.precision.group_size
    return Card(
        id=preset.id,
        title=preset.title,
        description=preset.description,
        goal=preset.goal,
        toolchain=preset.toolchain,
        precision=preset.precision.weights,
        gpu=preset.gpu or "",
        gpus=preset.gpus,
        own=preset.source is not None and preset.source.parent == own,
        runs_here=not why,
        why_not=why,
        tp=preset.parallel.tp,
        pp=preset.parallel.pp,
        group_size=group if isinstance(group, int) and group > 0 else None,
        built_here=built_here,
        for_gpus=gpus_of_targets(preset),
    )


def _in_words(gpus: Sequence[GpuSpec]) -> str:
    counts: dict[str, int] = {}
    for gpu in gpus:
        counts[gpu.name] = counts.get(gpu.name, 0) + 1
    return ", ".join(f"{count} {TIMES} {name}" if count > 1 else name for name, count in counts.items())


# --- why not ---


def judged(preset: Preset, gpus: Sequence[GpuSpec], lacking: str = "") -> tuple[str, bool]:
    """As `why_not`, and whether the engine can be built here all the same, for other machines."""
    if preset.toolchain == "tensorrt_rtx":
        return rtx_words(preset, gpus, lacking)
    return why_not(preset, gpus, lacking), False


def why_not(preset: Preset, gpus: Sequence[GpuSpec], lacking: str = "") -> str:
    """Why an engine of this preset does not run on this machine; empty: it does.

    The rules are core.precision's, on the GPUs that a plan would take (toolchains.gpus); then how many there are; then
    `lacking`, what the toolchain's environment has to say.
    """
    weights, kv = preset.precision.weights, preset.precision.kv_cache
    if preset.toolchain == "tensorrt_rtx":
        return rtx_words(preset, gpus, lacking)[0]
    if preset.toolchain == "pytorch" and weights.is_quantized:  # by torchao, whose kernels gain on a GPU alone
        if not gpus:
            return NO_GPU
        return supported(weights, "pytorch", gpus[0].compute_capability).reason or lacking
    if preset.toolchain != "tensorrt_llm":
        reason = supported(weights, preset.toolchain).reason or kv_supported(kv, preset.toolchain).reason
        return reason or lacking
    if not gpus:
        return NO_GPU
    planned = plan_gpus(preset, gpus)
    weakest = min(planned.gpus if planned.present else gpus, key=lambda gpu: gpu.compute_capability)
    reasons = [_capability_words(weights, kv, weakest, gpus), _count_words(preset, gpus, planned.present)]
    return " ".join(reason for reason in reasons if reason) or lacking


def _capability_words(weights: Precision, kv: KvPrecision, gpu: GpuSpec, gpus: Sequence[GpuSpec]) -> str:
    refused = _refusal(weights, kv, gpu.compute_capability)
    if not refused:
        return ""
    able = [capability for capability in _CAPABILITIES if not _refusal(weights, kv, capability)]
    if not able or gpu.compute_capability > able[0]:
        return refused
    which = "this GPU is"
    if len(gpus) > 1:
        alike = len({other.compute_capability for other in gpus}) == 1
        which = "these GPUs are" if alike else f"{gpu.name} is"
    return f"Needs compute capability {show_capability(able[0])}; {which} {gpu.capability}."


def _refusal(weights: Precision, kv: KvPrecision, capability: ComputeCapability) -> str:
    toolchain: ToolchainName = "tensorrt_llm"
    return supported(weights, toolchain, capability).reason or kv_supported(kv, toolchain, capability).reason


def _count_words(preset: Preset, gpus: Sequence[GpuSpec], present: bool) -> str:
    if present:
        return ""
    if len(gpus) < preset.gpus:
        return f"Needs {preset.gpus} GPUs; this machine has {len(gpus)}."
    most = max(sum(1 for other in gpus if other.name == gpu.name) for gpu in gpus)
    return f"Needs {preset.gpus} GPUs of one kind; this machine has {most}."


# --- what is nearest ---


def _with_nearest(card: Card, able: Sequence[Card], here: set[str]) -> Card:
    found = nearest(card, able, here)
    return card if found is None else replace(card, nearest=found.id, nearest_title=found.title)


def nearest(card: Card, able: Sequence[Card], here: set[str] | frozenset[str] = frozenset()) -> Card | None:
    """Of the cards that run here, the one most like `card`: of its toolchain if any, then for its model or else for
    any, then of its goal, then nearest in bits of weights and of activations, then meant for a GPU that is here."""

    def unlike(other: Card) -> tuple[object, ...]:
        return (
            other.toolchain != card.toolchain,
            0 if model_part(other) == model_part(card) else 2 if names_model(other) else 1,
            other.goal != card.goal,
            abs(other.precision.weight_bits - card.precision.weight_bits),
            abs(other.precision.activation_bits - card.precision.activation_bits),
            0 if other.gpu in here else 1 if not other.gpu else 2,
            abs(other.gpus - card.gpus),
            other.id,
        )

    return min((other for other in able if other.id != card.id), key=unlike, default=None)


def model_part(card: Card) -> str:
    """What an id says before its precision: `llama-3.1-8b` of `llama-3.1-8b-int8-sq-a100`."""
    return card.id.partition("-" + card.precision.value.replace("_", "-"))[0]


def names_model(card: Card) -> bool:
    """Whether a preset is meant for one model, as its id tells: a model's name has a number, as in `phi-3-mini`."""
    return any(letter.isdigit() for letter in model_part(card))


# --- filters and figures ---


def filtered(gallery: Gallery, text: str = "", gpu: str = "", precision: str = "", toolchain: str = "") -> Gallery:
    """The part of a gallery that fits: every word of `text`, and the others where not empty (`gpu`: RUNS_HERE or a
    GPU's name). Files that cannot be read have no precision or GPU, and go by their text alone."""
    words = text.casefold().split()

    def fits(card: Card) -> bool:
        if (precision and card.precision.value != precision) or (toolchain and card.toolchain != toolchain):
            return False
        if gpu and not (card.runs_here if gpu == RUNS_HERE else gpu in (card.gpu, *card.for_gpus)):
            return False
        return all(word in card.search_text for word in words)

    groups = (replace(group, cards=tuple(filter(fits, group.cards))) for group in gallery.groups)
    broken = gallery.broken if not (gpu or precision or toolchain) else ()
    return replace(
        gallery,
        groups=tuple(group for group in groups if group.cards),
        broken=tuple(b for b in broken if all(w in f"{b.name} {b.failure.what}".casefold() for w in words)),
    )


def weights_text(card: Card, model: ModelSpec | None) -> str:
    """Memory of the weights as preflight counts it, its high end: `8.5 GiB`, of each of two GPUs `2 x 4.3 GiB` (with
    the times sign); empty without a model."""
    if model is None:
        return ""
    return weights_of(model)(card)


def weights_of(model: ModelSpec) -> Callable[[Card], str]:
    """`weights_text` for many cards of one model: equal ones are counted once."""
    known: dict[tuple[object, ...], str] = {}

    def text(card: Card) -> str:
        key = (card.toolchain == "tensorrt_llm", card.precision, card.group_size, card.tp, card.pp)
        if key not in known:
            known[key] = _weights(card, model)
        return known[key]

    return text


def _weights(card: Card, model: ModelSpec) -> str:
    if card.toolchain == "tensorrt_llm":
        size = gpu_weight_bytes(model, card.precision, card.group_size, card.tp, card.pp).high
    else:
        size = weight_bytes(model, card.precision.value, group_size=card.group_size).high
    shown = f"{size / 2**30:.1f} GiB" if size >= 2**30 / 20 else format_bytes(size)
    return f"{card.gpus} {TIMES} {shown}" if card.gpus > 1 else shown
