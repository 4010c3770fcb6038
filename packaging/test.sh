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
# ModelOpt in two environments beside it: the version that TensorRT-LLM 1.2 pins, with its transformers, and today's.
# Each holds only what differs; PyTorch and the rest are seen in the first environment through a .pth file, which
# saves two more copies of it.
modelopt_venv() {
    local venv="$1" base="$2" stamp
    shift 2
    stamp="$* $(cat "$base/workbench-stamp")"
    if [ "$(cat "$venv/workbench-stamp" 2>/dev/null)" != "$stamp" ]; then
        say "Making the environment in $venv"
        rm -rf "$venv"
        "$base/bin/python" -m venv "$venv"
        "$base/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
            >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
        "$venv/bin/python" -m pip --disable-pip-version-check --no-input install -q --no-deps "$@"
        echo "$stamp" >"$venv/workbench-stamp"
    fi
}
modelopt_venv "$venv-modelopt" "$venv" nvidia-modelopt==0.47.0 'omegaconf>=2.3' antlr4-python3-runtime==4.9.3 \
    'pulp<4' 'torchprofile<0.2'
modelopt_venv "$venv-modelopt-0.37" "$venv" nvidia-modelopt==0.37.0 transformers==4.57.3 'huggingface_hub<1' \
    'tokenizers>=0.22,<0.23' 'pulp<4' 'torchprofile<0.2'
# What exports to ONNX, runs it and compiles it for RTX GPUs, as workbench/toolchains/tensorrt_rtx/requirements.lock has
# it: with a transformers of its own, which is found before the first environment's, since that one's folder comes last.
# ONNX Runtime has no wheels for Python 3.10; its tests are skipped there.
if "$venv/bin/python" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null; then
    modelopt_venv "$venv-onnx" "$venv" optimum==2.1.0 optimum-onnx==0.1.0 transformers==4.57.6 'huggingface_hub<1' \
        'tokenizers>=0.22,<0.23' onnx==1.23.2 onnxruntime==1.31.1 onnxruntime-genai==0.18.0 'ml-dtypes>=0.5,<0.7' \
        flatbuffers 'protobuf>=4.25.8' nvidia-modelopt==0.47.0 'omegaconf>=2.3' antlr4-python3-runtime==4.9.3 'pulp<4' \
        tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116 nvidia-cuda-runtime==13.0.96
    export WORKBENCH_TEST_ONNX="${WORKBENCH_TEST_ONNX:-$venv-onnx/bin/python}"
fi
export WORKBENCH_TEST_MODELOPT="${WORKBENCH_TEST_MODELOPT:-$venv-modelopt/bin/python}"
export WORKBENCH_TEST_MODELOPT_OLD="${WORKBENCH_TEST_MODELOPT_OLD:-$venv-modelopt-0.37/bin/python}"
# What the tests of other machines start for themselves, on loopback, with ports and keys of their own: an SSH server,
# Slurm with munge, Open MPI's launcher; and promtool, which reads exported Prometheus files. Where they are missing those
# tests are skipped.
programs_of_other_machines() {
    local missing=() pair policy=/usr/sbin/policy-rc.d own=""
    for pair in ssh:openssh-client sshd:openssh-server rsync:rsync slurmctld:slurm-wlm munged:munge \
        mpirun:openmpi-bin promtool:prometheus; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Tests of other machines are skipped: there is no ${missing[*]}" >&2
        echo "To do: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        return
    fi
    say "Installing what tests of other machines need: ${missing[*]}"
    # No service is started by its package; the tests start their own.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && own=yes
    fi
    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}") ||
        echo "They could not be installed: tests of other machines are skipped." >&2
    [ -z "$own" ] || rm -f "$policy"
}
programs_of_other_machines
cd "$root"
export QT_QPA_PLATFORM="${QT_QPA_PLATFORM:-offscreen}" WORKBENCH_TEST_CACHE="${WORKBENCH_TEST_CACHE:-$cache/tests}"

say "ruff"
"$venv/bin/ruff" check .
say "mypy"
"$venv/bin/mypy"
say "import contracts"
"$venv/bin/lint-imports" --no-logo
if [ "$#" -gt 0 ]; then
    say "tests"
    exec "$venv/bin/python" -m pytest "$@"
fi
# Two at a time, with one thread each for PyTorch: the short tests, and the slow ones that import for long or wait for
# processes. One by one after them: OpenVINO's workers, whose models take all cores whatever they are told (two at a
# time they took longer, with threads that wait for each other), and what holds timings to the truth.
alone=(tests/workers/openvino tests/bench/test_known_timings.py)
slow="slow and not nightly"
[ -z "${WORKBENCH_TEST_NIGHTLY:-}" ] || slow=slow
export OMP_NUM_THREADS=1
say "tests that are not slow"
"$venv/bin/python" -m pytest -n 2 -m "not slow" --durations=10
say "slow tests, two at a time"
"$venv/bin/python" -m pytest -n 2 --dist worksteal -m "$slow" "${alone[@]/#/--ignore=}" tests --durations=25
unset OMP_NUM_THREADS
say "slow tests that need the machine to themselves"
"$venv/bin/python" -m pytest -m "$slow" "${alone[@]}" --durations=20
# The package itself: built, installed in fresh chroots, used without a network, upgraded, removed. Needs root, a network,
# 15 GB of disk and most of an hour. WORKBENCH_PREVIOUS_DEB names the package that is upgraded from.
if [ -n "${WORKBENCH_TEST_PACKAGE:-}" ]; then
    say "the package"
    built="$(mktemp -d)"
    bash packaging/build.sh --out "$built"
    "$venv/bin/workbench" toolchain bundle openvino --out "$cache/package-wheels" --python-version 3.12
    bash packaging/test_package.sh --wheels "$cache/package-wheels" --flow bookworm --bases "$cache/package-bases" \
        --tarball "$(ls "$built"/engine-workbench-*.tar.xz)" --results packaging/RESULTS.md \
        ${WORKBENCH_PREVIOUS_DEB:+--previous "$WORKBENCH_PREVIOUS_DEB"} "$built"/engine-workbench_*.deb
fi
