"""`tensorrt_llm.mapping`: which part of a model a rank holds."""

from __future__ import annotations


class Mapping:
    """Sizes and this rank's place among them: tensor parallel ranks are next to each other."""

    def __init__(
        self, world_size: int = 1, rank: int = 0, *, tp_size: int = 1, pp_size: int = 1, cp_size: int = 1,
        moe_tp_size: int = -1, moe_ep_size: int = -1,
    ) -> None:  # fmt: skip
        if world_size != tp_size * pp_size * cp_size:
            raise ValueError(
                "world_size must equal to tp_size * pp_size * cp_size, but got "
                f"{world_size} != {tp_size} * {pp_size} * {cp_size}"
            )
        moe_tp = tp_size // max(moe_ep_size, 1) if moe_tp_size == -1 else moe_tp_size
        moe_ep = tp_size // moe_tp if moe_ep_size == -1 else moe_ep_size
        if moe_tp * moe_ep != tp_size:
            raise ValueError(
                f"tp_size must equal to moe_tp_size * moe_ep_size, but got {tp_size} != {moe_tp} * {moe_ep}"
            )
        assert 0 <= rank < world_size, f"rank must lie in [0, {world_size}), but got {rank}"
        self.world_size, self.rank, self.gpus_per_node = world_size, rank, 8
        self.tp_size, self.pp_size, self.cp_size = tp_size, pp_size, cp_size
        self.moe_tp_size, self.moe_ep_size = moe_tp, moe_ep

    @property
    def tp_rank(self) -> int:
        return self.rank % self.tp_size

    @property
    def pp_rank(self) -> int:
        return self.rank // (self.tp_size * self.cp_size)

    def to_dict(self) -> dict[str, int]:
        """As config.json holds it: no rank, since one file serves all."""
        names = ("world_size", "gpus_per_node", "cp_size", "tp_size", "pp_size", "moe_tp_size", "moe_ep_size")
        return {name: getattr(self, name) for name in names}
