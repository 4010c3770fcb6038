#!/usr/bin/env bash
# Checks this machine, then serves the engine of this folder with trtllm-serve (OpenAI-compatible), on one node.
#
#   LISTEN=127.0.0.1 PORT=8000  where it listens. trtllm-serve asks for no key: on another address than loopback
#                               everybody who reaches it may use it, so that wants OPEN=1 too.
#   SKIP_SUMS=1 ANYWAY=1        see check-node.sh
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/settings.sh"
host=${LISTEN:-127.0.0.1}
port=${PORT:-$DEFAULT_PORT}

case $host in
127.* | localhost | ::1) ;;
*)
    if [ "${OPEN:-}" != 1 ]; then
        echo "LISTEN=$host: trtllm-serve has no API key, so anybody who reaches that address may use it." >&2
        echo "Put a proxy with a key in front and keep it on 127.0.0.1, or say OPEN=1." >&2
        exit 2
    fi
    ;;
esac
if [ "$NODES" -gt 1 ]; then
    echo "This engine is laid out for $NODES nodes of $GPUS_PER_NODE GPUs: use job.sbatch or run-mpi.sh." >&2
    exit 2
fi
# shellcheck disable=SC2016  # the inner bash expands them
if timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "$port" 2>/dev/null; then
    echo "Something listens on $host:$port already: end it, or choose another port with PORT=." >&2
    exit 2
fi
"$here/check-node.sh"

if [ "$(id -u)" = 0 ] && { [ -f /.dockerenv ] || [ -f /run/.containerenv ]; }; then
    # Open MPI starts nothing as root unless it is told; in a container there is nobody else.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
start=()
if [ -n "${SLURM_JOB_ID:-}" ] && [ "$WORLD_SIZE" -gt 1 ]; then
    start=(mpirun -n 1) # inside an allocation MPI's processes are started by it
fi
exec "${start[@]}" trtllm-serve serve "$here/engine/$MODEL_NAME" --tokenizer "$here/tokenizer" --host "$host" --port "$port" \
    --extra_llm_api_options "$here/serve.yaml" "${SERVE_ARGUMENTS[@]}"
