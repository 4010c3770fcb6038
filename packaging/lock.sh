#!/usr/bin/env bash
# Writes packaging/requirements.lock (what ships: the base dependencies of pyproject.toml, and pip) and
# packaging/build-requirements.lock (the build's own tools), with SHA-256 of every file and no host names.
# Run by hand when versions are to be moved on; `bash packaging/lock.sh --upgrade` takes the newest that fit.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

python="${WORKBENCH_PACKAGE_PYTHON:-python3.12}" # markers are those of the interpreter that ships
venv="$cache/lock-venv"
if [ ! -x "$venv/bin/pip-compile" ]; then
    say "Making the environment of pip-compile in $venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input install -q -U pip pip-tools
fi
compile() {
    local target="$1"
    shift
    say "$target"
    "$venv/bin/pip-compile" -q --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --pip-args=--only-binary=:all: \
        -o "$root/packaging/$target" "$@"
    grep -c == "$root/packaging/$target"
}
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
echo pip >"$scratch/own.in"
compile requirements.lock "$@" "$root/pyproject.toml" "$scratch/own.in"
compile build-requirements.lock "$@" "$root/packaging/build-requirements.in"
