"""The endpoint toolchain: nothing is built, the host forwards to a server that somebody else runs."""

from __future__ import annotations

import os

from workbench.core.advice import Advice
from workbench.core.endpoint import KEY_VARIABLE, read_endpoint
from workbench.core.errors import BlockedError
from workbench.core.messages import StepSpec
from workbench.core.plan import Step
from workbench.toolchains.base import BuildRequest, EngineRequest, Environment, HostStart, Package, Part
from workbench.toolchains.secrets import key_of


class Endpoint:
    """The toolchain; see workbench.toolchains.base.Toolchain."""

    name = "endpoint"
    title = "Endpoint"
    packages: tuple[Package, ...] = (Package("httpx"), Package("pydantic"), Package("keyring", required=False))
    install_hint = "Install the workbench again: its own environment lacks a package that it needs."
    parts: tuple[Part, ...] = ()
    note = "Servers are added with `workbench endpoint add`; nothing is built for them."
    runtime_settings: frozenset[str] = frozenset()

    def needs(self, request: BuildRequest) -> tuple[Environment, ...]:
        """The workbench's own interpreter."""
        return (request.environment,)

    def advice(self, request: BuildRequest) -> tuple[Advice, ...]:
        """None: what runs there is its server's to say."""
        return ()

    def steps(self, request: BuildRequest) -> list[Step]:
        """Raises BlockedError: there is nothing to build."""
        raise BlockedError(
            "Nothing is built for an endpoint: its server runs elsewhere.",
            fix="Add it with: workbench endpoint add NAME --url URL --model MODEL",
            code="nothing-to-build",
        )

    def host(self, request: EngineRequest) -> HostStart:
        """How to talk to the server. A key from the keyring is asked for here, and goes by the host's environment.

        Raises BadInputError for a damaged description, BlockedError when the key is not there.
        """
        spec = read_endpoint(request.engine)
        env = request.environment.env()
        if spec.key.source == "keyring":
            key = key_of(spec.key, os.environ)
            if key is not None:
                env[KEY_VARIABLE] = key
        return HostStart(
            argv=request.environment.argv("workbench.workers.endpoint.host"),
            env=env,
            spec=StepSpec(worker="endpoint.host", inputs={"engine": str(request.engine)}),
            device="elsewhere",
        )
