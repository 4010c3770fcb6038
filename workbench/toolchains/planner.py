"""From preset, model and machine to a Plan and a preflight report: the one road that every front end takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.core.advice import Advice, advise
from workbench.core.artifact import complete_with_key
from workbench.core.digest import FileStamp, model_digest
from workbench.core.errors import BadInputError
from workbench.core.estimate import Preflight, preflight
from workbench.core.gpu import GpuSpec
from workbench.core.home import Home
from workbench.core.host import HostSpec
from workbench.core.model import ModelSpec
from workbench.core.plan import FileMark, Plan, PlanModel, StepKind
from workbench.core.preset import Preset
from workbench.toolchains.base import BuildRequest, Environment, Toolchain
