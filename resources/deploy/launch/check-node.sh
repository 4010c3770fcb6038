#!/usr/bin/env bash
# Checks this machine for the engine of this folder: GPUs, driver, versions, files. One node of several is checked by
# running it there. Ends with 0 when all is well, else with 3 and what to do.
#
#   ./check-node.sh [GPUS]      GPUs that this node gives; by default those of settings.sh
#   SKIP_SUMS=1                 do not compute checksums (an engine of many GiB takes minutes)
#   ANYWAY=1                    say what is wrong and go on all the same
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/settings.sh"
gpus=${1:-$GPUS_PER_NODE}
wrong=0

good() { printf 'ok    %s\n' "$*"; }
note() { printf 'note  %s\n' "$*"; }
bad() {
    printf 'WRONG %s\n' "$*" >&2
    wrong=1
}

check_gpus() {
    if ! command -v nvidia-smi >/dev/null; then
        bad "nvidia-smi is not here. This engine needs $gpus NVIDIA GPU(s) and their driver."
        return
    fi
    # nvidia-smi shows all GPUs; CUDA takes those that CUDA_VISIBLE_DEVICES names.
    local only=() rows found=0 odd="" name capability version driver=""
    if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
        only=(-i "$CUDA_VISIBLE_DEVICES")
    fi
    if ! rows=$(nvidia-smi "${only[@]}" --query-gpu=name,compute_cap,driver_version --format=csv,noheader,nounits); then
        bad "nvidia-smi failed: ${rows%%$'\n'*}"
        return
    fi
    while IFS=, read -r name capability version; do
        [ -n "$name" ] || continue
        capability=${capability// /}
        driver=${version// /}
        if [ -z "$COMPUTE_CAPABILITY" ] || [ "$capability" = "$COMPUTE_CAPABILITY" ]; then
            found=$((found + 1))
        else
            odd="${odd:+$odd, }$name ($capability)"
        fi
    done <<<"$rows"
    if [ "$found" -lt "$gpus" ]; then
        bad "$gpus GPU(s)${COMPUTE_CAPABILITY:+ of compute capability $COMPUTE_CAPABILITY (built on ${GPU_NAME:-such a one})}" \
            "are needed here, $found found."
        if [ -n "$odd" ]; then
            printf '      Others here: %s\n' "$odd. An engine runs on the kind it was built on: build it for these." >&2
        fi
    else
        good "$found fitting GPU(s), $gpus needed"
    fi
    if [ "$WORLD_SIZE" -gt 1 ] && [ "${CUDA_VISIBLE_DEVICES:-}" = "" ] && [ "$found" -gt "$gpus" ]; then
        note "the first $gpus of them are taken; CUDA_VISIBLE_DEVICES chooses others"
    fi
    if [ -n "$DRIVER_FROM" ] && [ "${driver%%.*}" -lt "$DRIVER_FROM" ] 2>/dev/null; then
        note "driver $driver: CUDA 13 is made for $DRIVER_FROM and newer; older ones work on data-centre GPUs with" \
            "the cuda-compat package"
    fi
}

check_version() {
    local python found
    python=$(command -v "${PYTHON:-python3}") || {
        bad "${PYTHON:-python3} is not here"
        return
    }
    found=$("$python" -c 'import importlib.metadata as m; print(m.version("tensorrt_llm"))' 2>/dev/null) || {
        bad "TensorRT-LLM is not installed for $python. Use the container ($IMAGE), or PYTHON=/its/bin/python."
        return
    }
    if [ "$found" != "$TENSORRT_LLM_VERSION" ]; then
        bad "TensorRT-LLM $found is here; the engine was built by $TENSORRT_LLM_VERSION and loads with no other." \
            "Use the container $IMAGE."
    else
        good "TensorRT-LLM $found"
    fi
    command -v trtllm-serve >/dev/null || bad "trtllm-serve is not on PATH"
}

check_files() {
    local rank
    for ((rank = 0; rank < WORLD_SIZE; rank++)); do
        [ -s "$here/engine/$MODEL_NAME/rank$rank.engine" ] || bad "engine/$MODEL_NAME/rank$rank.engine is missing: copy the folder again"
    done
    if [ "${SKIP_SUMS:-}" = 1 ]; then
        note "checksums are not looked at (SKIP_SUMS=1)"
    elif [ ! -r "$here/SHA256SUMS" ]; then
        bad "SHA256SUMS is missing: copy the folder again"
    elif (cd "$here" && sha256sum --quiet --check SHA256SUMS); then
        good "checksums"
    else
        bad "a file differs from SHA256SUMS: copy the folder again"
    fi
}

check_gpus
check_version
check_files
if [ "$wrong" = 1 ] && [ "${ANYWAY:-}" != 1 ]; then
    printf '%s: this engine does not run here as it is. ANYWAY=1 tries all the same.\n' "$(uname -n)" >&2
    exit 3
fi
