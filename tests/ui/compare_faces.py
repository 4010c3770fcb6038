"""The faces of the Compare page for the sweep: nothing chosen, measured, one after the other all tabs, and its form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.fakes import comparisons as made
from workbench.core.errors import Failure
from workbench.ui.pages.compare.page import TABS, ComparePage
from workbench.ui.window import Window

_LONG = "Llama-3.3-70B-Instruct-abliterated-by-a-person-of-many-words"


def compare_faces(window: Window, settle: Callable[[Window], None]) -> Iterator[str]:
    """A comparison of all kinds of variants: an endpoint, a simulated one, one that failed, one not as asked."""
    page = window.page("compare")
    assert isinstance(page, ComparePage)
    odd = made.subject(3, "int4", name=f"{_LONG} INT4", not_applied={"kv_cache_precision": "asked for fp8, runs f16"})
    endpoint = made.subject(4, "bf16", name="gpu-box-2, port 8000", toolchain="endpoint", url="http://gpu-box-2:8000",
                            size_bytes=None, weights_bytes=None, kv_tokens=None, build_s=None, settings={})  # fmt: skip
    lost = made.subject(5, "nf4", failure=Failure(code="no-room", what="It did not fit.", evidence="1 GiB free"))
    simulated = made.subject(6, "nvfp4", name="NVFP4 simulated", simulated=True, size_bytes=None, weights_bytes=None,
                             kv_tokens=None, build_s=None, settings={})  # fmt: skip
    simulated = simulated.model_copy(update={"id": "sim-nvfp4"})
    page.model.show(made.comparison((*made.three()[:2], odd, endpoint, lost, simulated)))
    for number, words in enumerate(TABS):
        page.tabs.choose(number)
        settle(window)
        yield f"compare, {words.lower()}"
    page.strip.show()
    page.model.progressed.emit(page.model.doing)
    settle(window)
    yield "compare, measuring"
    page.strip.hide()
    page.tabs.choose(0)
    page.model.start_with([])
    settle(window)
