#!/usr/bin/env bash
# Checks this machine, makes an environment for the engine of this folder the first time, then serves it
# (OpenAI-compatible).
#
#   HOST=127.0.0.1  PORT=8000   where it listens. On another address than loopback it wants a key:
#   API_KEY=...                 clients must send this key (it is read from the environment and kept nowhere)
#   PYTHON=python3              makes the environment: Python 3.10 to 3.12
#   VENV=.venv                  where the environment is made; with READY_PYTHON=/x/bin/python that interpreter is used
#   WHEELS=FOLDER               install from this folder of wheels, without a network
#   SKIP_SUMS=1 ANYWAY=1        do not compute checksums; go on although something is wrong
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/settings.sh"
venv=${VENV:-$here/.venv}
wrong=0

bad() {
    printf 'WRONG %s\n' "$*" >&2
    wrong=1
}

if [ "${SKIP_SUMS:-}" = 1 ]; then
    echo "note  checksums are not looked at (SKIP_SUMS=1)"
elif (cd "$here" && sha256sum --quiet --check SHA256SUMS); then
    echo "ok    checksums"
else
    bad "a file differs from SHA256SUMS: copy the folder again"
fi
if [ "$(uname -s)" != Linux ] || [ "$(uname -m)" != x86_64 ]; then
    bad "this is $(uname -s) on $(uname -m); the server is for Linux on x86_64"
fi
if [ "$GPUS_PER_NODE" -gt 0 ]; then
    if ! command -v nvidia-smi >/dev/null || ! rows=$(nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader,nounits); then
        bad "this engine runs on an NVIDIA GPU, and there is none here, or no driver"
    else
        echo "ok    $(printf '%s' "$rows" | head -n 1)"
    fi
fi
python=${READY_PYTHON:-$venv/bin/python}
if [ -z "${READY_PYTHON:-}" ] && [ ! -f "$venv/.ready" ]; then
    base=$(command -v "${PYTHON:-python3}") || {
        echo "${PYTHON:-python3} is not here: Python 3.10 to 3.12 is needed" >&2
        exit 3
    }
    if ! "$base" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'; then
        echo "$base is $("$base" -V); Python 3.10 to 3.12 is needed: name one with PYTHON=" >&2
        exit 3
    fi
    echo "making the environment in $venv (once)"
    "$base" -m venv "$venv"
    from=()
    if [ -n "${WHEELS:-}" ]; then
        from=(--no-index --find-links "$WHEELS")
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${from[@]}" -r "$here/requirements.txt"
    touch "$venv/.ready"
fi
for pin in "${VERSIONS[@]}"; do
    found=$("$python" -c 'import importlib.metadata as m, sys; print(m.version(sys.argv[1]))' "${pin%%=*}" 2>/dev/null || true)
    if [ "${found%%+*}" != "${pin##*=}" ]; then
        bad "${pin%%=*} ${found:-is not installed} for $python; the engine was made with ${pin##*=}"
    else
        echo "ok    ${pin%%=*} $found"
    fi
done
if [ "$wrong" = 1 ] && [ "${ANYWAY:-}" != 1 ]; then
    printf '%s: this engine does not run here as it is. ANYWAY=1 tries all the same.\n' "$(uname -n)" >&2
    exit 3
fi
key=()
if [ -n "${API_KEY:-}" ]; then
    key=(--api-key-env API_KEY)
fi
export WORKBENCH_HOME=${WORKBENCH_HOME:-${XDG_STATE_HOME:-$HOME/.local/state}/engine-workbench-launch}
export PYTHONPATH="$here/program${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
export "$PYTHON_VARIABLE=$python"
"$python" -m workbench.cli.app serve start "$here/engine" --host "${HOST:-127.0.0.1}" \
    --port "${PORT:-$DEFAULT_PORT}" --model "$MODEL_NAME" "${key[@]}" "${SERVE_ARGUMENTS[@]}" "$@" &
server=$!
# Ending this script, as a container's stop does, lets running requests come to their end: like Ctrl+C.
trap 'kill -INT "$server" 2>/dev/null' INT TERM HUP
while kill -0 "$server" 2>/dev/null; do
    wait "$server" && status=0 || status=$?
done
exit "${status:-0}"
