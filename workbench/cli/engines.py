"""`workbench engines`: list, show, remove."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from workbench.cli.context import Context
from workbench.core.artifact import VERIFY_FILE, Provenance, problems, read_provenance, runs_here, verification
from workbench.core.errors import BadInputError
from workbench.core.home import Home, expanded
from workbench.core.sharing import refuse_shared, root_of
from workbench.core.units import format_bytes, format_duration
from workbench.jobs.holding import held_artifact
from workbench.jobs.sealing import remove_artifact
from workbench.serve.using import refuse_served
from workbench.store.store import StoredArtifact
from workbench.toolchains.gpus import detected_gpus


def find_engine(context: Context, wanted: str) -> StoredArtifact:
    """An engine by folder, by `last`, by the start of its key, by its name or its folder's name, or by its precision
    where no other engine has that.

    Raises BadInputError when none or several fit, or when it is not whole.
    """
    path = expanded(wanted)
    if path.is_dir():
        provenance = read_provenance(path)
        found = StoredArtifact(path, provenance, "; ".join(problems(path, provenance)), root_of(context.home, path))
    else:
        context.store.sync()
        engines = context.store.artifacts("engine")
        whole = [e for e in engines if not e.missing]
        if wanted == "last" and whole:
            return _of_last_job(context, whole) or whole[0]
        hits = [e for e in engines if _fits(e, wanted)] or [e for e in engines if _is_of(e, wanted)]
        # The same engine in two places is one engine: take the newest that is whole.
        keys = {e.provenance.key for e in hits}
        if len(keys) != 1:
            names = ", ".join(e.path.name for e in (hits or engines)[:6])
            raise BadInputError(
                f"No engine is called {wanted!r}." if not hits else f"{wanted!r} fits {len(hits)} engines.",
                evidence=names or "nothing was built yet",
                fix="`workbench engines` lists them; a folder works too.",
                code="no-such-engine",
            )
        found = next((e for e in hits if not e.missing), hits[0])
    if found.provenance.kind != "engine":
        raise BadInputError(
            f"{found.path} is a {found.provenance.kind}, not an engine.",
            fix="Build it without --until.",
            code="not-an-engine",
        )
    if found.missing:
        raise BadInputError(
            f"The engine {found.path} is not whole.",
            evidence=found.missing,
            fix="Build it again; the earlier steps are reused.",
            code="broken-engine",
        )
    return found


def _of_last_job(context: Context, engines: list[StoredArtifact]) -> StoredArtifact | None:
    """The engine that the newest finished job made or found; a reused engine is older than its job."""
    by_path = {str(engine.path): engine for engine in engines}
    for state in context.store.jobs(20):
        for path in reversed(state.artifacts):
            if path in by_path:
                return by_path[path]
    return None


def _fits(engine: StoredArtifact, wanted: str) -> bool:
    return wanted in (engine.path.name, engine.provenance.name, str(engine.path)) or (
        len(wanted) >= 4 and engine.provenance.key.startswith(wanted)
    )


def _is_of(engine: StoredArtifact, precision: str) -> bool:
    of = engine.provenance
    return of.toolchain != "endpoint" and of.precision.lower() == precision.lower() and not engine.missing


def summary(stored: StoredArtifact, cpu_identity: str, home: Home | None = None) -> dict[str, Any]:
    """One engine for lists and machines."""
    p = stored.provenance
    gpus = detected_gpus() if p.toolchain in ("tensorrt_llm", "tensorrt_rtx", "onnxruntime", "pytorch") else ()
    runs, remark = runs_here(p, cpu_identity, tuple(gpu.compute_capability for gpu in gpus))
    verified = verification(stored.path, p, home)
    return {
        "path": str(stored.path),
        "kind": p.kind,
        "name": p.name,
        "key": p.key,
        "model": p.model.name if p.model else None,
        "precision": p.precision,
        "toolchain": p.toolchain,
        "size_bytes": p.size_bytes,
        "build_seconds": round(p.build_seconds, 1),
        "created_at": p.created_at,
        "complete": not stored.missing,
        "missing": stored.missing,
        "runs_here": runs,
        "remark": remark,
        "shared": stored.shared,
        "verify": verified.result if verified else None,
    }


def run_list(context: Context, *, everything: bool) -> None:
    context.store.sync()
    rows = [
        summary(stored, context.host.cpu_identity, context.home)
        for stored in context.store.artifacts("" if everything else "engine")
    ]
    if context.as_json:
        context.result(rows)
        return
    if not rows:
        context.result(None, "Nothing was built yet. `workbench demo` builds an engine that needs no GPU.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "toolchain", "size", "built in", "agreement", "date", "key", "folder"):
        numbers = column in ("size", "built in", "agreement")
        table.add_column(column, justify="right" if numbers else "left", no_wrap=column == "key", overflow="fold")
    for row in rows:
        agreement = (row["verify"] or {}).get("agreement")
        table.add_row(
            row["name"] if row["kind"] == "engine" else f"{row['name']} ({row['kind']})",
            row["toolchain"],
            format_bytes(row["size_bytes"]),
            format_duration(row["build_seconds"]),
            f"{100 * agreement:.1f} %" if agreement is not None else "not verified",
            _date(row["created_at"]),
            row["key"][:12],
            _place(context, row),
        )
    context.out.print(table)


def _place(context: Context, row: dict[str, Any]) -> str:
    """The folder; inside the home its name is enough, and every command takes it."""
    path = Path(row["path"])
    place = path.name if path.is_relative_to(context.home.artifacts) else str(path)
    words = [word for word in ("shared" if row["shared"] else "", row["missing"]) if word]
    return f"{place} ({', '.join(words)})" if words else place


def _date(epoch_seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(epoch_seconds))


def run_show(context: Context, wanted: str) -> None:
    stored = find_engine(context, wanted)
    if context.as_json:
        row = summary(stored, context.host.cpu_identity, context.home)
        context.result({**row, "provenance": stored.provenance.model_dump(mode="json")})
        return
    context.result(None, "\n".join(_words(stored, summary(stored, context.host.cpu_identity, context.home))))


def _words(stored: StoredArtifact, row: dict[str, Any]) -> list[str]:
    p: Provenance = stored.provenance
    lines = [
        p.name,
        f"  folder      {stored.path}",
        f"  size        {format_bytes(p.size_bytes)} in {len(p.files)} files",
        f"  toolchain   {p.toolchain}, preset {p.preset_id or 'none'}",
        f"  built       {_date(p.created_at)} in {format_duration(p.build_seconds)} on {p.machine.cpu}",
        f"  runs here   {'yes' if row['runs_here'] else 'no'}" + (f" ({row['remark']})" if row["remark"] else ""),
        f"  key         {p.key}",
    ]
    if stored.shared:
        lines.insert(2, f"  shared      under {stored.shared}: used from here, and never changed")
    if p.model is not None:
        lines.append(
            f"  model       {p.model.name} ({p.model.architecture}), digest {p.model.digest[:16]}, {p.model.path}"
        )
    verify = row["verify"]
    if verify:
        lines.append("  verified    " + quality_words(verify))
        if verify.get("remark"):
            lines.append(f"  {'':<11} {verify['remark']}")
    else:
        lines.append("  verified    no")
    lines.append("  steps")
    for step in p.steps:
        lines.append(f"    {step.id:<16} {format_duration(step.seconds):>9}  {' '.join(step.argv)}")
        lines.append(f"    {'':<16} {'':>9}  " + ", ".join(f"{k} {v}" for k, v in sorted(step.versions.items())))
    lines.append("  files")
    lines += [f"    {format_bytes(f.bytes):>9}  {f.sha256[:16]}  {f.path}" for f in p.files]
    return lines


def quality_words(verify: dict[str, Any]) -> str:
    """What verify found, in a line; what it did not report is said."""
    agreement, kl, speed = verify.get("agreement"), verify.get("kl_nats"), verify.get("output_tok_s")
    return ", ".join(
        [
            f"agreement with the source model {100 * agreement:.1f} %"
            if agreement is not None
            else "agreement not reported",
            f"mean KL {kl:.4f} nats" if kl is not None else "KL not reported",
            f"{speed:.1f} tokens/s" if speed is not None else "speed not reported",
        ]
    )


def run_remove(context: Context, wanted: str, *, yes: bool, everything: bool) -> None:
    context.store.refuse_newer()
    stored = _removable(context, wanted, everything=everything)
    refuse_shared(context.home, stored.path, "removed")
    size = format_bytes(stored.provenance.size_bytes)
    refuse_served(context.home, stored.path)  # before anybody is asked, and again before it goes
    if not yes:
        if not sys.stdin.isatty():
            raise BadInputError(
                "Nobody is there to be asked.", fix="Give --yes to remove without asking.", code="not-asked"
            )
        if not typer.confirm(f"Remove {stored.path} ({size})?", err=True):
            raise typer.Exit(0)
    try:
        with held_artifact(context.home, stored.path, stored.provenance.key):
            refuse_served(context.home, stored.path)
            others = remove_artifact(stored.path, stored.provenance, (VERIFY_FILE,))
    except OSError as error:
        raise BadInputError(f"{stored.path} could not be removed.", evidence=str(error), code="not-writable") from error
    context.store.forget_artifact(stored.path)
    if others:
        context.note(f"These files were not the workbench's and stay in {stored.path}: {', '.join(others[:10])}")
    context.result({"removed": str(stored.path), "left": others}, f"removed {stored.path}, {size}")


def _removable(context: Context, wanted: str, *, everything: bool) -> StoredArtifact:
    """The one artefact that is meant, links followed. Raises BadInputError; for a model or checkpoint without --all."""
    path = expanded(wanted)
    if path.is_dir():
        path = path.resolve()
        stored = StoredArtifact(path, read_provenance(path))
    else:
        context.store.sync()
        hits = [e for e in context.store.artifacts() if _fits(e, wanted)]
        if len(hits) != 1:
            names = ", ".join(e.path.name for e in hits[:6])
            raise BadInputError(
                f"{wanted!r} fits {len(hits)} artefacts." if hits else f"No engine is called {wanted!r}.",
                evidence=names,
                fix="Give the folder, or the key's first digits: `workbench engines list --all`.",
                code="no-such-engine",
            )
        stored = hits[0]
    if stored.provenance.kind != "engine" and not everything:
        raise BadInputError(
            f"{stored.path} is a {stored.provenance.kind}, not an engine.",
            fix="Give --all to remove checkpoints and models too.",
            code="not-an-engine",
        )
    return stored
