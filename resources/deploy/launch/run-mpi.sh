#!/usr/bin/env bash
# Serves the engine of this folder over several GPUs or nodes with Open MPI: one process a GPU. Start it on the first
# node of the hostfile; this folder must be seen under the same name on all of them, and ssh must reach them without a
# password.
#
#   HOSTFILE=hostfile           one line a node: NAME slots=GPUS
#   LISTEN=127.0.0.1 PORT=8000  where the first node listens; another address wants OPEN=1: there is no API key
#   SKIP_SUMS=1 ANYWAY=1        see check-node.sh
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/settings.sh"
hostfile=${HOSTFILE:-$here/hostfile}
host=${LISTEN:-127.0.0.1}
port=${PORT:-$DEFAULT_PORT}

case $host in
127.* | localhost | ::1) ;;
*)
    if [ "${OPEN:-}" != 1 ]; then
        echo "LISTEN=$host: trtllm-serve has no API key, so anybody who reaches that address may use it; OPEN=1 says so." >&2
        exit 2
    fi
    ;;
esac
if [ ! -r "$hostfile" ]; then
    echo "No hostfile: write one line a node, NAME slots=$GPUS_PER_NODE, into $hostfile ($NODES in all)," >&2
    echo "or name one with HOSTFILE=." >&2
    exit 2
fi
slots=0
listed=0
each=0
while read -r name rest || [ -n "$name" ]; do
    case $name in '' | '#'*) continue ;; esac
    count=1
    if [[ " $rest" =~ [[:space:]]slots=([0-9]+) ]]; then
        count=$((10#${BASH_REMATCH[1]}))
    fi
    if [ "$listed" -gt 0 ] && [ "$count" -ne "$each" ]; then
        echo "$hostfile gives $name $count process(es) and the nodes before it $each: give every node the same." >&2
        exit 3
    fi
    each=$count
    slots=$((slots + count))
    listed=$((listed + 1))
done <"$hostfile"
if [ "$slots" -ne "$WORLD_SIZE" ]; then
    echo "The hostfile gives $slots processes on $listed node(s); the engine is $SHAPE, which is $WORLD_SIZE." >&2
    echo "Every engine rank needs exactly one: correct the slots in $hostfile." >&2
    exit 3
fi
if [ "$(id -u)" = 0 ] && { [ -f /.dockerenv ] || [ -f /run/.containerenv ]; }; then
    # Open MPI starts nothing as root unless it is told; in a container there is nobody else.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
pass=()
for name in SKIP_SUMS ANYWAY PYTHON PATH LD_LIBRARY_PATH; do
    if [ -n "${!name:-}" ]; then
        pass+=(-x "$name")
    fi
done
# Each node looks at its own GPUs and files first.
mpirun -n "$listed" --hostfile "$hostfile" --map-by ppr:1:node "${pass[@]}" "$here/check-node.sh" "$each"
exec mpirun -n "$WORLD_SIZE" --hostfile "$hostfile" --map-by "ppr:$each:node" "${pass[@]}" \
    trtllm-llmapi-launch trtllm-serve serve "$here/engine/$MODEL_NAME" --tokenizer "$here/tokenizer" \
    --host "$host" --port "$port" --extra_llm_api_options "$here/serve.yaml" "${SERVE_ARGUMENTS[@]}"
