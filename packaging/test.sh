#!/usr/bin/env bash
# Sets up a virtual environment in .venv-test and runs all checks: ruff, mypy, import contracts, tests.
# Can be run twice; works offline once its downloads are there. Extra arguments go to pytest:
#   bash packaging/test.sh -m "not slow"
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

venv="${WORKBENCH_VENV:-$root/.venv-test}"
system_libraries
make_venv "$venv" openvino,demo,test
demo_wheel "$venv"
cd "$root"
export QT_QPA_PLATFORM="${QT_QPA_PLATFORM:-offscreen}" WORKBENCH_TEST_CACHE="${WORKBENCH_TEST_CACHE:-$cache/tests}"

say "ruff"
"$venv/bin/ruff" check .
say "mypy"
"$venv/bin/mypy"
say "import contracts"
"$venv/bin/lint-imports" --no-logo
say "tests"
exec "$venv/bin/python" -m pytest "$@"
