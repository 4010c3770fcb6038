"""What the PyTorch workers share: the device, its free memory, and words for what torch runs out of."""

from __future__ import annotations

from typing import Any

from workbench.workers.common import first_line
from workbench.workers.hosts.common import available_bytes, resident_bytes
from workbench.workers.protocol import WorkerError

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "accelerate")


def choose_device(wanted: str | None) -> Any:
    """The torch device named, else the first GPU, else the CPU. Raises WorkerError `no-device`."""
    import torch

    name = wanted or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda":
            device = torch.device("cuda", device.index or 0)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise WorkerError(
            "PyTorch cannot use the device",
            code="no-device",
            cause=f"{name}: {first_line(error)}",
            hint="Use cpu, or cuda where PyTorch was installed for CUDA and a GPU is free.",
        ) from error
    return device


def free_bytes(device: Any) -> int | None:
    """Memory of the device that can be had now, in bytes; None where it is not reported."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes()


def tensor_bytes(tensors: Any) -> int:
    """Bytes of tensors; one that appears twice (tied embeddings) counts once."""
    sizes = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}
    return sum(sizes.values())


def memory_now(device: Any, weights_bytes: int, kv_pool_bytes: int) -> dict[str, int]:
    """What this process holds, in bytes. `process`: resident on the host. On a GPU also `gpu`, all that torch holds
    there, and `activations`, what of it is neither weights nor KV pool; the driver's own context is in none of them.
    """
    found = {"weights": weights_bytes, "kv_pool": kv_pool_bytes}
    resident = resident_bytes()
    if resident is not None:
        found["process"] = resident
    if device.type == "cuda":
        import torch

        found["gpu"] = int(torch.cuda.memory_reserved(device))
        found["activations"] = max(found["gpu"] - weights_bytes - kv_pool_bytes, 0)
    return found


def is_out_of_memory(text: str) -> bool:
    """Whether an error's text says that memory ran out: the library hands errors on as text only."""
    return "out of memory" in text.lower() or "can't allocate memory" in text.lower()


def out_of_memory(what: str, text: str) -> WorkerError:
    return WorkerError(
        what,
        code="out-of-memory",
        cause=text,
        hint="Choose a smaller KV pool (kv_cache_bytes), fewer requests at once, or end other programs on the device.",
    )
