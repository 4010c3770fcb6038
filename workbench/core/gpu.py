"""GPUs as the planner sees them, and a catalogue of known ones, so that a plan needs no GPU at hand."""

from __future__ import annotations

import difflib
import re

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.errors import BadInputError
from workbench.core.precision import show_capability

_MIB = 2**20


class GpuSpec(BaseModel):
    """One GPU, from the catalogue or as the driver reports it. None is "not reported"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int = Field(gt=0)
    """Total that the driver reports, a little less than the figure it is sold by."""
    memory_bandwidth_gb_s: float | None = None
    """Vendor's figure in 1e9 bytes a second."""
    nvlink: bool | None = None
    """Whether boards of this kind can have NVLink among them; whether these have is the driver's to say."""
    index: int | None = None
    """Place among this machine's GPUs; None in the catalogue."""
    uuid: str | None = None
    drives_display: bool | None = None
    """Whether a screen hangs on it now."""
    memory_used_bytes: int | None = None
    """Taken by other programs when it was looked at."""

    @property
    def may_drive_display(self) -> bool:
        """As reported; not reported: boards of the RTX line have display outputs, those of data centres none."""
        return self.name.startswith("RTX") if self.drives_display is None else self.drives_display

    @property
    def capability(self) -> str:
        """Compute capability in words, "8.9"."""
        return show_capability(self.compute_capability)

    @property
    def sm(self) -> int:
        """Compute capability as one number, 89 for 8.9, as engine configs and kernels name it."""
        return self.compute_capability[0] * 10 + self.compute_capability[1]


def _gpu(name: str, capability: tuple[int, int], memory_mib: int, bandwidth_gb_s: float, *, nvlink: bool) -> GpuSpec:
    return GpuSpec(
        name=name,
        compute_capability=capability,
        memory_bytes=memory_mib * _MIB,
        memory_bandwidth_gb_s=bandwidth_gb_s,
        nvlink=nvlink,
    )


# Memory: what nvidia-smi prints for the board; where ECC can be switched, with the vendor's default.
# Bandwidth: the vendor's data sheet.
_ALL = (
    _gpu("RTX 3090", (8, 6), 24576, 936, nvlink=True),
    _gpu("RTX 4080", (8, 9), 16376, 717, nvlink=False),
    _gpu("RTX 4090", (8, 9), 24564, 1008, nvlink=False),
    _gpu("RTX 5080", (12, 0), 16303, 960, nvlink=False),
    _gpu("RTX 5090", (12, 0), 32607, 1792, nvlink=False),
    _gpu("RTX A6000", (8, 6), 49140, 768, nvlink=True),
    _gpu("RTX 6000 Ada", (8, 9), 49140, 960, nvlink=False),
    _gpu("RTX PRO 6000 Blackwell", (12, 0), 97887, 1792, nvlink=False),
    _gpu("A10", (8, 6), 23028, 600, nvlink=False),
    _gpu("A40", (8, 6), 46068, 696, nvlink=True),
    _gpu("A100 40GB", (8, 0), 40960, 1555, nvlink=True),
    _gpu("A100 80GB", (8, 0), 81920, 2039, nvlink=True),
    _gpu("A100 80GB PCIe", (8, 0), 81920, 1935, nvlink=True),
    _gpu("L4", (8, 9), 23034, 300, nvlink=False),
    _gpu("L40S", (8, 9), 46068, 864, nvlink=False),
    _gpu("H100 SXM", (9, 0), 81559, 3350, nvlink=True),
    _gpu("H100 PCIe", (9, 0), 81559, 2000, nvlink=True),
    _gpu("H100 NVL", (9, 0), 95830, 3900, nvlink=True),
    _gpu("H200", (9, 0), 143771, 4800, nvlink=True),
    _gpu("H200 NVL", (9, 0), 143771, 4800, nvlink=True),
    _gpu("B200", (10, 0), 183359, 8000, nvlink=True),
    _gpu("GB200", (10, 0), 189471, 8000, nvlink=True),
)

CATALOGUE: dict[str, GpuSpec] = {gpu.name: gpu for gpu in _ALL}
"""Known GPUs by name."""

# Other spellings, already folded: what drivers print and what people type.
_ALIASES = {
    "a100": "A100 80GB",
    "a100 sxm4 80gb": "A100 80GB",
    "a100 80gb sxm": "A100 80GB",
    "a100 sxm4 40gb": "A100 40GB",
    "a100 pcie 40gb": "A100 40GB",
    "a100 40gb pcie": "A100 40GB",
    "a100 40gb sxm": "A100 40GB",
    "a100 pcie 80gb": "A100 80GB PCIe",
    "h100": "H100 SXM",
    "h100 80gb": "H100 SXM",
    "h100 80gb hbm3": "H100 SXM",
    "h100 sxm5": "H100 SXM",
    "h100 sxm5 80gb": "H100 SXM",
    "h100 sxm 80gb": "H100 SXM",
    "h100 80gb sxm": "H100 SXM",
    "h100 80gb pcie": "H100 PCIe",
    "h200 sxm": "H200",
    "h200 141gb": "H200",
    "b200 sxm": "B200",
    "rtx 6000 ada generation": "RTX 6000 Ada",
    "rtx pro 6000": "RTX PRO 6000 Blackwell",
    "rtx pro 6000 blackwell workstation edition": "RTX PRO 6000 Blackwell",
    "rtx pro 6000 blackwell server edition": "RTX PRO 6000 Blackwell",
    "rtx pro 6000 blackwell max q workstation edition": "RTX PRO 6000 Blackwell",
    "gb200 nvl72": "GB200",
}


def _fold(name: str) -> str:
    """Lower case, without the maker's and the line's name, one space between words."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    folded = " ".join(word for word in words if word not in ("nvidia", "geforce", "tensor", "core", "gpu"))
    folded = re.sub(r"^(\d{4})\b", r"rtx \1", folded)
    return re.sub(r"^rtx(\d)", r"rtx \1", folded)


_BY_FOLDED = {_fold(name): name for name in CATALOGUE} | _ALIASES


def find_gpu(name: str) -> GpuSpec:
    """The catalogue's GPU of this name; case, "NVIDIA", "GeForce" and punctuation do not matter.

    Raises BadInputError with the nearest known name.
    """
    folded = _fold(name[:100])
    if folded in _BY_FOLDED:
        return CATALOGUE[_BY_FOLDED[folded]]
    near = difflib.get_close_matches(folded, list(_BY_FOLDED), n=1, cutoff=0.5)
    raise BadInputError(
        f"{name[:60]!r} is not a GPU of the catalogue." + (f" Nearest: {_BY_FOLDED[near[0]]}" if near else ""),
        evidence=f"known: {', '.join(CATALOGUE)}",
        fix="Use a name of the catalogue, or leave it out to plan for this machine's own GPU.",
        code="unknown-gpu",
    )
