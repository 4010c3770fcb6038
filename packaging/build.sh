#!/usr/bin/env bash
# Builds the installer for lab machines: dist/engine-workbench-VERSION/ (the tree that is installed), the tarball that
# runs from any folder, the .deb, SHA256SUMS. Needs a CPython 3.12 built with --enable-shared (found in pyenv or on
# PATH, or named by WORKBENCH_PACKAGE_PYTHON), git, binutils, xz-utils, dpkg, and the network or pip's cache.
#   bash packaging/build.sh [--source DIR] [--out DIR] [--only tree|tarball|deb]
# The same sources on the same machine give the same bytes, wherever they lie. Results: packaging/RESULTS.md.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

# The build's own tools, by hash; nothing of them ships.
build_venv() {
    local venv="$1" lock="$root/packaging/build-requirements.lock" python stamp
    if ! python="$(first_python 'import venv, ensurepip; assert sys.version_info >= (3, 11)' \
        python3.12 python3.11 python3)"; then
        echo "Building needs a Python from 3.11 on with the venv module." >&2
        echo "To do: apt-get install python3 python3-venv, or name one: WORKBENCH_PYTHON=/path/to/python3.12" >&2
        return 2
    fi
    stamp="$(sha256sum "$lock" | cut -c1-16) $python"
    [ "$(cat "$venv/workbench-stamp" 2>/dev/null)" = "$stamp" ] && return
    say "Making the build's environment in $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    # pip itself first: the one that a Python brings may not know the options used here.
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input install -q --require-hashes -r "$lock"
    echo "$stamp" >"$venv/workbench-stamp"
}

venv="${WORKBENCH_BUILD_VENV:-$cache/build-venv}"
build_venv "$venv"
export PATH="$venv/bin:$PATH" PYTHONPATH="$root/packaging" PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m build_tree "$@"
