"""Worker `pytorch.score`: quality of a PyTorch engine from its logits.

The model is loaded as its host loads it, but for the paged cache and compiling: neither changes what is computed, only
in what order sums are made.
"""

from __future__ import annotations

from typing import Any

from workbench.core.measure.scores import tokenizer_digest
from workbench.workers.common import input_folder, quiet_environment
from workbench.workers.hosts.serving import usable_template
from workbench.workers.protocol import Channel, StepSpec, run_worker
from workbench.workers.pytorch.common import PACKAGES
from workbench.workers.pytorch.load import host_settings, load_model
from workbench.workers.pytorch.reference import open_reference
from workbench.workers.scoring.hf_model import HfModel
from workbench.workers.scoring.score import PHASES, read_questions, score


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Score `inputs.engine` (an engine folder, or a model folder) on `inputs.questions`; `inputs.baseline`: the folder
    that the baseline's score filled, or not given for the baseline itself. Settings: as for the host. Fills
    `spec.output`."""
    quiet_environment()
    questions = read_questions(spec)
    reference = open_reference(input_folder(spec, "engine"), channel)
    given = {name: value for name, value in spec.settings.items() if value is not None}
    settings = host_settings({**reference.settings, **given}, channel)
    channel.phase("load", 1, len(PHASES))
    loaded = load_model(reference.model, settings)
    model = HfModel(loaded.model, loaded.tokenizer, reference.model, usable_template(reference.model, channel))
    if loaded.quantization is not None:
        model.settings["quantization"] = loaded.quantization
    return score(model, spec, questions, tokenizer_digest(reference.model), channel)


if __name__ == "__main__":
    run_worker("pytorch.score", work, packages=PACKAGES)
