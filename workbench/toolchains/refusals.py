"""What several toolchains refuse in the same words when a build is planned."""

from __future__ import annotations

from workbench.core.errors import BadInputError, BlockedError
from workbench.core.precision import Precision, ToolchainName, supported
from workbench.toolchains.base import BuildRequest


def refuse_quantized(request: BuildRequest, instead: str) -> None:
    """Raises BlockedError for a model that is quantized already; `instead`: what the toolchain wants, in words."""
    if request.model.quantization is not None:
        raise BlockedError(
            f"{request.model.name} is quantized already ({request.model.quantization.method}); {instead}.",
            evidence=f"quantization_config in {request.model.path}/config.json",
            fix="Use the unquantized model folder.",
            code="already-quantized",
        )


def known_precision(name: str) -> Precision:
    """The precision of that name. Raises BadInputError."""
    try:
        return Precision(name)
    except ValueError as error:
        raise BadInputError(
            f"{name!r} is not a precision.",
            evidence=f"known: {', '.join(p.value for p in Precision)}",
            code="no-such-precision",
        ) from error


def refuse_unsupported(
    request: BuildRequest, precision: Precision, toolchain: ToolchainName, capability: tuple[int, int] | None
) -> None:
    """Raises BlockedError, with what is nearest, where the support matrix says no."""
    support = supported(precision, toolchain, capability, request.model.architecture)
    if not support.ok:
        nearest = f"Nearest: --precision {support.nearest}." if support.nearest else ""
        raise BlockedError(
            support.reason,
            evidence=f"precision {precision.value}, toolchain {toolchain}",
            fix=nearest,
            code="not-supported",
        )


def refuse_group_size(channels: tuple[int, ...], size: int | str, sizes: tuple[int, ...] = (128, 64, 32, 16)) -> None:
    """Raises BlockedError for a group size that does not divide the model's input channels; `sizes` can be offered."""
    if not isinstance(size, int) or size <= 0:
        return
    bad = [channel for channel in channels if channel % size]
    if bad:
        fits = next((other for other in sizes if not any(c % other for c in channels)), -1)
        raise BlockedError(
            f"A group size of {size} does not divide the model's channels.",
            evidence=f"input channels {', '.join(map(str, bad[:4]))} are no multiples of {size}",
            fix=f"Nearest: --set precision.group_size={fits}, or auto.",
            code="bad-group-size",
        )
