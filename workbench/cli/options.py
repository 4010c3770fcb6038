"""Options that several commands share. Only typer is imported here."""

from __future__ import annotations

from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Model folder, or a name such as org/model to download.")
]
PrecisionOption = Annotated[
    list[str],
    typer.Option(
        "--precision", "-p", help="Precisions, comma-separated or repeated, instead of the preset's: int8,int4."
    ),
]
SetOption = Annotated[
    list[str], typer.Option("--set", help="Override a preset value: precision.weights=int4.", metavar="KEY=VALUE")
]
UntilOption = Annotated[
    str, typer.Option("--until", help="Stop after this step: check, convert, quantize, build, verify.")
]
TargetOption = Annotated[
    str, typer.Option("--target", help="The machine that the steps run on: a name of `workbench target list`.")
]
