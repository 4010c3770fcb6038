"""A `docker` and an `ssh` for tests: they check what they are told as the real ones would, and start the command here.

As with the real ones, the command is no child that dies with them and gets no variable that was not passed on; its
standard input ends when they do.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

_COMMON = '''#!{python}
import os, signal, subprocess, sys, threading

def note(text):
    with open({notes!r}, "a") as file:
        file.write(text + "\\n")

def carry(argv, env, group_on_term):
    """Run it in a session of its own, its input through a pipe; SIGTERM goes on to it where that is so."""
    process = subprocess.Popen(argv, env=env, cwd="/", stdin=subprocess.PIPE, start_new_session=True)
    note(f"pid {{process.pid}}")
    if group_on_term:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(process.pid, signal.SIGTERM))
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def pump():
        for chunk in iter(lambda: os.read(0, 65536), b""):
            try:
                process.stdin.write(chunk)
                process.stdin.flush()
            except OSError:
                break
        process.stdin.close()

    threading.Thread(target=pump, daemon=True).start()
    sys.exit(process.wait() % 256)
'''
_DOCKER = """
words = sys.argv[1:]
note("docker " + " ".join(words))
if words[:1] != ["run"]:
    sys.exit(f"docker: unknown command: docker {{words[:1]}}")
words, env, mounts, given = words[1:], {{"PATH": {path!r}}}, [], set()
while words and words[0].startswith("-"):
    word = words.pop(0)
    if word in ("-i", "--rm", "--init", "--ipc=host"):
        given.add(word)
    elif word in ("-e", "-v", "--gpus", "--user"):
        value = words.pop(0)
        if word == "-e":
            name, _, value = value.partition("=")
            env[name] = value
        elif word == "-v":
            here, there = value.split(":")[:2]
            assert here == there and os.path.isabs(here), f"docker: invalid volume {{value}}"
            mounts.append(here)
        given.add(word)
    else:
        sys.exit(f"unknown flag: {{word}}")
image, *command = words
if "/" in image and not image.split(":")[0].islower() or not command:
    sys.exit(f"docker: invalid reference format: {{image}}")
if "-i" not in given:
    sys.exit("stand-in: without -i the container hears nothing")
# Only what is mounted is there: the worker's files and the folders of its spec.
code = env.get("PYTHONPATH", "")
if not any(code == m or code.startswith(m + "/") for m in mounts):
    env["PYTHONPATH"] = "/not-mounted"
carry(command, env, "--init" in given)
"""
_SSH = """
words = sys.argv[1:]
note("ssh " + " ".join(words))
batch = False
while words and words[0].startswith("-"):
    assert words.pop(0) == "-o", "unknown option"
    batch = batch or words.pop(0) == "BatchMode=yes"
if not batch:
    sys.exit("Host key verification failed.")
host, *rest = words
if host != {host!r}:
    sys.exit(f"ssh: Could not resolve hostname {{host}}: Name or service not known")
# The real one hands one string to the other machine's shell.
carry(["/bin/sh", "-c", " ".join(rest)], {{"PATH": {path!r}, "HOME": "/tmp"}}, False)
"""


def write_docker(folder: Path, *, path: str = "/usr/bin:/bin") -> Path:
    """`folder`/docker; `path` is the image's PATH. What it was told is in `folder`/notes."""
    return _write(folder / "docker", _COMMON + _DOCKER, path=path)


def write_ssh(folder: Path, *, host: str = "lab", path: str = "/usr/bin:/bin") -> Path:
    """`folder`/ssh, which knows one host."""
    return _write(folder / "ssh", _COMMON + _SSH, path=path, host=host)


def write_python(folder: Path, *sites: Path) -> Path:
    """An image's own `python3`: this interpreter, with packages of its own after the worker's files."""
    program = folder / "python3"
    added = ":".join(map(str, sites))
    program.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{added}" exec {sys.executable} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def notes(folder: Path) -> list[str]:
    return (folder / "notes").read_text().splitlines() if (folder / "notes").exists() else []


def _write(program: Path, text: str, **values: str) -> Path:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(text.format(python=sys.executable, notes=str(program.parent / "notes"), **values))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program
