#!/usr/bin/env bash
# Checks this machine, makes an environment for the engine of this folder the first time, then serves it
# (OpenAI-compatible).
#
#   LISTEN=127.0.0.1 PORT=8000  where it listens. On another address than loopback it wants a key:
#   API_KEY=...                 clients must send this key (it is read from the environment and kept nowhere)
#   PYTHON=python3              makes the environment: Python 3.12 or a little older, as README.md says
#   VENV=.venv                  where the environment is made; with READY_PYTHON=/x/bin/python that interpreter is used
#   WHEELS=FOLDER               install from this folder of wheels, without a network
#   SKIP_SUMS=1 ANYWAY=1        do not compute checksums; go on although something is wrong
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/settings.sh"
venv=${VENV:-$here/.venv}
oldest=${PYTHON_FROM:-10}
wrong=0

bad() {
    printf 'WRONG %s\n' "$*" >&2
    wrong=1
}

stop_if_wrong() {
    if [ "$wrong" = 1 ] && [ "${ANYWAY:-}" != 1 ]; then
        printf '%s: this engine does not run here as it is. ANYWAY=1 tries all the same.\n' "$(uname -n)" >&2
        exit 3
    fi
}

if [ "${SKIP_SUMS:-}" = 1 ]; then
    echo "note  checksums are not looked at (SKIP_SUMS=1)"
elif [ ! -r "$here/SHA256SUMS" ]; then
    bad "SHA256SUMS is missing: copy the folder again"
elif (cd "$here" && sha256sum --quiet --check SHA256SUMS); then
    echo "ok    checksums"
else
    bad "a file differs from SHA256SUMS: copy the folder again"
fi
if [ "$(uname -s)" != Linux ] || [ "$(uname -m)" != x86_64 ]; then
    bad "this is $(uname -s) on $(uname -m); the server is for Linux on x86_64"
fi
if [ -n "${TARGETS[*]:-}" ]; then
    "$here/check-rtx.sh" || wrong=1
elif [ "$GPUS_PER_NODE" -gt 0 ]; then
    if ! command -v nvidia-smi >/dev/null || ! rows=$(nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader,nounits); then
        bad "this engine runs on an NVIDIA GPU, and there is none here, or no driver"
    else
        echo "ok    ${rows%%$'\n'*}"
    fi
fi
stop_if_wrong
python=${READY_PYTHON:-$venv/bin/python}
if [ -z "${READY_PYTHON:-}" ] && [ -f "$venv/.ready" ] && ! "$python" -c '' 2>/dev/null; then
    echo "The environment in $venv runs no more: the Python that made it is gone. Remove $venv and start again." >&2
    exit 3
fi
if [ -z "${READY_PYTHON:-}" ] && [ ! -f "$venv/.ready" ]; then
    base=$(command -v "${PYTHON:-python3}") || {
        echo "${PYTHON:-python3} is not here: Python 3.$oldest to 3.12 is needed" >&2
        exit 3
    }
    if ! "$base" -c 'import sys; sys.exit(not (3, int(sys.argv[1])) <= sys.version_info[:2] <= (3, 12))' "$oldest"; then
        echo "$base is $("$base" -V); Python 3.$oldest to 3.12 is needed: name one with PYTHON=" >&2
        exit 3
    fi
    echo "making the environment in $venv (once)"
    from=()
    if [ -n "${WHEELS:-}" ]; then
        from=(--no-index --find-links "$WHEELS")
    fi
    if ! { "$base" -m venv "$venv" &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${from[@]}" -r "$here/requirements.txt" &&
        touch "$venv/.ready"; }; then
        echo "The environment could not be made in $venv (see above). VENV=FOLDER makes it elsewhere, where this folder" \
            "is read-only or full; WHEELS=FOLDER needs no network; READY_PYTHON=/x/bin/python takes one that is there." >&2
        exit 3
    fi
fi
version_of() { "$python" -c 'import importlib.metadata as m, sys; print(m.version(sys.argv[1]))' "$1" 2>/dev/null || true; }
for pin in "${VERSIONS[@]}"; do
    # NAME|OTHER=VERSION: either of the two holds the same modules.
    names=${pin%%=*}
    name=${names%%|*}
    found=$(version_of "$name")
    if [ -z "$found" ] && [ "$name" != "$names" ]; then
        other=$(version_of "${names##*|}")
        if [ -n "$other" ]; then
            name=${names##*|} found=$other
        fi
    fi
    if [ "${found%%+*}" != "${pin##*=}" ]; then
        bad "$name ${found:-is not installed} for $python; the engine was made with ${pin##*=}"
    else
        echo "ok    $name $found"
    fi
done
# What the server itself needs; a line with a condition is not looked at.
lacks=$("$python" - "$here/requirements.txt" <<'END' 2>/dev/null || true
import importlib.metadata, re, sys
for line in open(sys.argv[1], encoding="utf-8"):
    name = re.match(r"[A-Za-z0-9_.-]+", line)
    if name and ";" not in line:
        try:
            importlib.metadata.version(name[0])
        except importlib.metadata.PackageNotFoundError:
            print(name[0], end=" ")
END
)
if [ -n "$lacks" ]; then
    bad "$python lacks packages of requirements.txt: $lacks"
fi
stop_if_wrong
key=()
if [ -n "${API_KEY:-}" ]; then
    key=(--api-key-env API_KEY)
fi
export WORKBENCH_HOME=${WORKBENCH_HOME:-${XDG_STATE_HOME:-$HOME/.local/state}/engine-workbench-launch}
export PYTHONPATH="$here/program${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
export "$PYTHON_VARIABLE=$python"
# A session of its own: Ctrl+C would reach it twice, from the terminal and from here, and the second one aborts answers.
setsid "$python" -m workbench.cli.app serve start "$here/engine" --host "${LISTEN:-127.0.0.1}" \
    --port "${PORT:-$DEFAULT_PORT}" --model "$MODEL_NAME" "${key[@]}" "${SERVE_ARGUMENTS[@]}" "$@" &
server=$!
# Ending this script, as a container's stop does, lets running requests come to their end: like Ctrl+C.
trap 'kill -INT "$server" 2>/dev/null || true' INT TERM HUP
while kill -0 "$server" 2>/dev/null; do
    wait "$server" && status=0 || status=$?
done
exit "${status:-0}"
