"""Looks for text-generation models on the Hugging Face Hub by words of their names."""

from __future__ import annotations

from typing import Any

from workbench.core.messages import StepSpec
from workbench.workers.models.fetch import explained, offline_variable
from workbench.workers.protocol import Channel, WorkerError, run_worker

MOST = 30


def search(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Settings: query, endpoint. Result: models, each with id, downloads (last 30 days), likes and gated."""
    query = spec.settings.get("query")
    if not isinstance(query, str) or not query.strip():
        raise WorkerError("no words to look for were given", code="bad-settings", cause=f"query is {query!r}")
    if name := offline_variable():
        raise WorkerError(
            f"{name} forbids to use the network", code="offline", cause=f"{name} is set", hint=f"Unset {name}."
        )
    endpoint = spec.settings.get("endpoint") or None

    from huggingface_hub import HfApi

    with explained(query, "", endpoint):
        found = HfApi(endpoint=endpoint).list_models(
            search=query.strip()[:200], filter="text-generation", sort="downloads", limit=MOST
        )
        models = [
            {"id": each.id, "downloads": each.downloads, "likes": each.likes, "gated": bool(each.gated)}
            for each in found
        ]
    return {"models": models}


if __name__ == "__main__":
    run_worker("models.search", search, ("huggingface_hub",))
