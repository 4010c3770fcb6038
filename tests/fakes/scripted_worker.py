"""A worker whose whole behaviour is written in its settings: a list of actions done one after the other.

It speaks the real protocol through the real workbench.workers.protocol, and misbehaves only where it is told to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from workbench.core.messages import Phase, StepSpec
from workbench.workers.protocol import Channel, WorkerError, run_worker


def act(action: list[Any], spec: StepSpec, channel: Channel, stream: int) -> None:
    verb, *args = action
    output = Path(spec.output) if spec.output else None
    match verb:
        case "write":
            assert output is not None
            path = output / args[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(args[1].encode() * (args[2] if len(args) > 2 else 1))
        case "phase":
            channel.send(Phase(name=args[0], index=args[1], of=args[2]))
        case "progress":
            unit, left_s = (*args[2:], *("files", None)[len(args) - 2 :])
            channel.progress(args[0], args[1], unit, left_s=left_s)
        case "log":
            channel.log(args[0])
        case "flood":
            for number in range(args[0]):
                print(f"line {number} of raw output", flush=False)
            sys.stdout.flush()
        case "sleep":
            end = time.monotonic() + args[0]
            while time.monotonic() < end:
                time.sleep(0.02)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        case "ignore_term":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "rubbish":
            os.write(stream, b"this is not a message\n")
        case "long_line":
            os.write(stream, b'{"type": "log", "text": "' + b"x" * (9 * 2**20) + b'"}\n')
        case "unknown_type":
            os.write(stream, b'{"type": "weather", "t": 1.0, "sky": "blue"}\n')
        case "kill":
            os.kill(os.getpid(), getattr(signal, args[0]))
            time.sleep(10)
        case "exit":
            os._exit(args[0])
        case "error":
            code = args[1] if len(args) > 1 else "planned"
            raise WorkerError(args[0], cause="line 7", hint="try again", code=code)
        case "raise":
            raise RuntimeError(args[0])
        case "child":
            subprocess.Popen(["sleep", "3600"], start_new_session=bool(args and args[0]))
        case "wait_for":
            end = time.monotonic() + 60
            while not Path(args[0]).exists():
                if time.monotonic() > end:
                    raise WorkerError(f"{args[0]} never came")
                time.sleep(0.01)
        case "touch":
            Path(args[0]).touch()
        case "append":
            with Path(args[0]).open("a") as out:
                out.write(args[1] + "\n")
        case _:
            raise WorkerError(f"unknown action {verb}")


def main() -> None:
    stream = os.dup(1)
    os.set_inheritable(stream, False)

    def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
        for action in spec.settings["actions"]:
            act(action, spec, channel, stream)
        return {"actions": len(spec.settings["actions"])}

    run_worker("scripted", work)


if __name__ == "__main__":
    main()
