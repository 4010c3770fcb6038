#!/usr/bin/env bash
# Whether the compiled engine of this folder runs on this machine: its GPUs and their driver. Ends with 0 when it does,
# or when there is no NVIDIA GPU and ONNX Runtime answers with the ONNX model on the CPU; else with 3 and what to do.
#
#   ./check-rtx.sh
#   ANYWAY=1                    say what is wrong and go on all the same
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/settings.sh"
wrong=0

good() { printf 'ok    %s\n' "$*"; }
note() { printf 'note  %s\n' "$*"; }
bad() {
    printf 'WRONG %s\n' "$*" >&2
    wrong=1
}

# Why the engine does not run on a GPU of compute capability $1; nothing where it does.
refused() {
    local target
    case $1 in
    7.* | 8.0)
        echo "ONNX Runtime's TensorRT-RTX provider runs on 8.6 and newer"
        return
        ;;
    esac
    for target in "${TARGETS[@]}"; do
        if [ "$1" = "$target" ]; then
            return
        fi
    done
    case $1 in
    9.0) echo "TensorRT-RTX does not support compute capability 9.0 (Hopper) at all" ;;
    10.*) echo "TensorRT-RTX does not support compute capability $1 (Blackwell of data centres) at all" ;;
    *) echo "the engine was not compiled for $1; build it again with $1 among its targets" ;;
    esac
}

check_gpus() {
    if ! command -v nvidia-smi >/dev/null; then
        without_gpu "nvidia-smi is not here"
        return
    fi
    # nvidia-smi shows all GPUs; CUDA takes those that CUDA_VISIBLE_DEVICES names.
    local only=() rows found=0 name capability version driver="" why
    if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
        only=(-i "$CUDA_VISIBLE_DEVICES")
    fi
    if ! rows=$(nvidia-smi "${only[@]}" --query-gpu=name,compute_cap,driver_version --format=csv,noheader,nounits) ||
        [ -z "$rows" ]; then
        without_gpu "nvidia-smi names no GPU${rows:+: ${rows%%$'\n'*}}"
        return
    fi
    local others=()
    while IFS=, read -r name capability version; do
        [ -n "$name" ] || continue
        capability=${capability// /}
        why=$(refused "$capability")
        if [ -z "$why" ]; then
            found=$((found + 1))
            driver=${version// /}
            good "$name ($capability)"
        else
            others+=("$name ($capability): $why")
        fi
    done <<<"$rows"
    if [ "$found" = 0 ]; then
        bad "the engine is compiled for compute capability ${TARGETS[*]}, and no GPU here can run it"
        printf '      %s.\n' "${others[@]}" >&2
    elif [ -n "$driver" ] && [ "${driver%%.*}" -lt "$DRIVER_FROM" ] 2>/dev/null; then
        bad "driver $driver is older than $DRIVER_FROM, which TensorRT-RTX for CUDA 13 needs"
    fi
}

without_gpu() {
    if [ "$ON_CPU_TOO" = 1 ]; then
        note "no NVIDIA GPU here ($1): ONNX Runtime runs the ONNX model on the CPU; the compiled engine is for compute" \
            "capability ${TARGETS[*]}"
    else
        bad "no NVIDIA GPU here ($1), and ONNX Runtime cannot run a model of this precision on a CPU"
    fi
}

check_gpus
if [ "$wrong" = 1 ] && [ "${ANYWAY:-}" != 1 ]; then
    printf '%s: the compiled engine does not run here. ANYWAY=1 tries all the same.\n' "$(uname -n)" >&2
    exit 3
fi
