#!/usr/bin/env bash
# Sets up a virtual environment in .venv (and the system libraries, where it may), then runs the demo: builds the INT8
# engine of SmolLM2-135M with OpenVINO, asks it something, prints the answer, TTFT, tokens/s and KV blocks.
# Needs no GPU. Can be run twice: the second run reuses every step. Works offline once its downloads are there.
# State goes to WORKBENCH_HOME (default: the platform's data folder). Extra arguments go to `workbench demo`.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

venv="${WORKBENCH_VENV:-$root/.venv}"
system_libraries
make_venv "$venv" openvino,demo
demo_wheel "$venv"
say "Building and asking the demo engine"
"$venv/bin/workbench" demo "$@"
say "Next: $venv/bin/workbench --help"
