"""Worker `selftest`: uses every part of the protocol once, needs no toolchain, and is done at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from workbench.workers.common import announce, input_folder
from workbench.workers.protocol import Channel, StepSpec, run_worker


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Result: `echo` (the setting `say`), `sha256` (of it), `before` (what an input's file says, where there is one).

    With an output folder, a file `said.txt` in it.
    """
    said = str(spec.settings.get("say", ""))
    before = ""
    channel.phase("reading", 1, 2)
    if spec.inputs:
        before = (input_folder(spec, "before") / "said.txt").read_text("utf-8")
    channel.progress(1, 2, "words")
    channel.phase("writing", 2, 2)
    if spec.output:
        (Path(spec.output) / "said.txt").write_text(before + said, "utf-8")
        announce(channel, "checkpoint", Path(spec.output))
    channel.log("the self-test's worker was here")
    channel.progress(2, 2, "words")
    print("this is noise on standard output")  # which the protocol must stand
    return {"echo": said, "sha256": hashlib.sha256(said.encode()).hexdigest(), "before": before}


if __name__ == "__main__":
    run_worker("selftest", work)
