"""Experts as a list of linear layers, which is what ModelOpt's TensorRT-LLM exporter walks through.

transformers 4 kept them so; transformers 5 holds all experts of a layer in two stacked tensors, which the exporter
cannot take apart. Nothing is copied: the layers made here are views of the stacked tensors.
"""

from __future__ import annotations

from typing import Any

_NAMES = {"llama": ("w1", "w3", "w2"), "qwen": ("gate_proj", "up_proj", "down_proj")}
"""Gate, up and down projection of an expert, as the exporter looks for them, by its decoder type."""


def list_experts(model: Any, decoder: str) -> int:
    """Replace every stacked set of experts by a list with the same answers; how many sets there were."""
    if decoder not in _NAMES:
        return 0
    names = _NAMES[decoder]
    stacked = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if _is_parameter(child, "gate_up_proj") and _is_parameter(child, "down_proj")
    ]
    for parent, name, child in stacked:
        setattr(parent, name, _listed(child, names))
    return len(stacked)


def linear_routers(model: Any) -> None:
    """Replace each router that is no linear layer by one with its weights: for the export, which runs nothing."""
    import torch

    for block in list(model.modules()):
        gate = getattr(block, "gate", None)
        if not hasattr(block, "experts") or gate is None or isinstance(gate, torch.nn.Linear):
            continue
        if _is_parameter(gate, "weight") and gate.weight.dim() == 2:
            block.gate = _linear(gate.weight.data)


def _is_parameter(module: Any, name: str) -> bool:
    import torch

    return isinstance(getattr(module, name, None), torch.nn.Parameter)


def _linear(weight: Any) -> Any:
    import torch

    with torch.device("meta"):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    return linear


def _listed(stacked: Any, names: tuple[str, str, str]) -> Any:
    import torch

    gate_name, up_name, down_name = names

    class Expert(torch.nn.Module):
        def __init__(self, gate_up: Any, down: Any) -> None:
            super().__init__()
            width = gate_up.shape[0] // 2
            setattr(self, gate_name, _linear(gate_up[:width]))
            setattr(self, up_name, _linear(gate_up[width:]))
            setattr(self, down_name, _linear(down))
            self.act_fn = stacked.act_fn

        def forward(self, x: Any) -> Any:
            return getattr(self, down_name)(self.act_fn(getattr(self, gate_name)(x)) * getattr(self, up_name)(x))

    class Experts(torch.nn.ModuleList):
        def forward(self, hidden_states: Any, top_k_index: Any, top_k_weights: Any) -> Any:
            out = torch.zeros_like(hidden_states)
            for number, expert in enumerate(self):
                token, place = torch.where(top_k_index == number)
                if token.numel():
                    answer = expert(hidden_states[token]) * top_k_weights[token, place, None]
                    out.index_add_(0, token, answer.to(out.dtype))
            return out

    pairs = zip(stacked.gate_up_proj.data, stacked.down_proj.data, strict=True)
    return Experts([Expert(gate_up, down) for gate_up, down in pairs])
