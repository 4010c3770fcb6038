"""What ssh says when it gives no connection, in words a person can act on."""

from __future__ import annotations

import re
import shlex

from workbench.core.errors import BadInputError, StepFailedError, WorkbenchError
from workbench.core.target import Target
from workbench.remote.transport import CutError


class NoConnectionError(StepFailedError, CutError):
    """No connection for now: an error in words at the start, and reason to try again later on."""

    def __init__(self, what: str, *, evidence: str = "", fix: str = "", code: str = "") -> None:
        StepFailedError.__init__(self, what, evidence=evidence, fix=fix, code=code)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def no_program_here(program: str, package: str) -> BadInputError:
    return BadInputError(
        f"There is no {program} on this machine.",
        evidence=f"{program} is not on the PATH",
        fix=f"Install it: apt-get install {package}",
        code=f"no-{program}",
    )


def explain_ssh(target: Target, text: str) -> WorkbenchError | CutError:
    """The reason why ssh ended without a connection: CutError where another try may work, else what to do."""
    said = last_line(text)
    host = target.host.rpartition("@")[2]
    port = target.port or 22
    ssh = shlex.join(["ssh", *(["-p", str(port)] if target.port else []), target.host])
    known = f" -f {shlex.quote(target.known_hosts)}" if target.known_hosts else ""
    place = target.known_hosts or "~/.ssh/known_hosts"
    entry = f"[{host}]:{port}" if target.port and target.port != 22 else host
    scan = f"ssh-keyscan -p {port} {host}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
        return BadInputError(
            f"The host key of {target.name} has changed: it is another machine, or somebody stands between.",
            evidence=_line_with(text, "fingerprint", "SHA256:") or said,
            fix=f"Ask whoever keeps {host}. If it was installed anew: ssh-keygen -R {shlex.quote(entry)}{known}, "
            f"then `{scan} >> {place}`.",
            code="host-key-changed",
        )
    if "host key is known for" in text or "Host key verification failed" in text:
        return BadInputError(
            f"The host key of {target.name} is not known here.",
            evidence=_line_with(text, "host key is known for") or said,
            fix=f"`{scan} | ssh-keygen -lf -` shows it; if whoever keeps {host} says that it is right: "
            f"`{scan} >> {place}`.",
            code="host-key-unknown",
        )
    if "UNPROTECTED PRIVATE KEY" in text:
        return BadInputError(
            f"The key of {target.name} can be read by others, so ssh does not use it.",
            evidence=_line_with(text, "Permissions") or said,
            fix=f"chmod 600 {shlex.quote(target.identity_file or '~/.ssh/id_ed25519')}",
            code="login-refused",
        )
    if re.search(r"Permission denied|Too many authentication failures|no matching|Authentication failed", text):
        return BadInputError(
            f"{target.name} refused the login.",
            evidence=said,
            fix=f"Try `{ssh}`. It must work without a question: put your public key into ~/.ssh/authorized_keys there, "
            "and load a key that has a passphrase into ssh-agent.",
            code="login-refused",
        )
    if "Could not resolve hostname" in text:
        return NoConnectionError(
            f"There is no machine called {host}.",
            evidence=said,
            fix="Look at the target's host: a name that resolves, an address, or a Host of ~/.ssh/config.",
            code="no-such-host",
        )
    if re.search(r"timed out|timeout|took too long", text, re.IGNORECASE):
        return NoConnectionError(
            f"{target.name} does not answer.",
            evidence=said,
            fix=f"Is it on, and may this machine reach port {port} of {host}? Try `{ssh}`.",
            code="timed-out",
        )
    if "Connection refused" in text:
        return NoConnectionError(
            f"{target.name} takes no SSH connections.",
            evidence=said,
            fix=f"Is sshd running there, on port {port}? Try `{ssh}`.",
            code="refused",
        )
    if re.search(r"No route to host|[Nn]etwork is unreachable", text):
        return NoConnectionError(
            f"{target.name} cannot be reached from here.",
            evidence=said,
            fix=f"Look at the network. Try `{ssh}`.",
            code="unreachable",
        )
    return NoConnectionError(
        f"No connection to {target.name}.", evidence=said, fix=f"Try `{ssh}`.", code="no-connection"
    )


def _line_with(text: str, *parts: str) -> str:
    return next((line.strip() for line in text.splitlines() if any(part in line for part in parts)), "")
