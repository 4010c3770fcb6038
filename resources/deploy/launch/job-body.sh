# Serves the engine of this folder through Slurm: one task a GPU. Submit it from this folder, which every node must
# see under the same name: sbatch job.sbatch
#
#   PORT=8000                   where the first node listens, on its loopback: there is no API key. Reach it with
#                               ssh -L 8000:127.0.0.1:8000 NODE
#   LISTEN=ADDRESS OPEN=1       listens there instead: everybody who reaches it may use it
#   CONTAINER=IMAGE             runs in that image (pyxis); by default what the nodes have installed
#   MPI=pmix                    another way of srun's to start processes (srun --mpi=list)
#   SKIP_SUMS=1 ANYWAY=1        see check-node.sh
set -euo pipefail
# Slurm runs a copy of this script elsewhere, so the folder is the one it was submitted from.
here=${LAUNCH_FOLDER:-${SLURM_SUBMIT_DIR:-$PWD}}
if [ ! -r "$here/settings.sh" ]; then
    echo "Submit this script from its own folder, or name it in LAUNCH_FOLDER: there is no settings.sh in $here" >&2
    exit 2
fi
# shellcheck source=/dev/null
. "$here/settings.sh"
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
given=${SLURM_JOB_NUM_NODES:-${SLURM_NNODES:-0}}
tasks=${SLURM_NTASKS:-0}
if [ "$tasks" -ne "$WORLD_SIZE" ]; then
    echo "The job has $given node(s) and $tasks task(s); the engine is $SHAPE, which is $WORLD_SIZE processes." >&2
    echo "Submit it with --nodes=$NODES --ntasks=$WORLD_SIZE --ntasks-per-node=$GPUS_PER_NODE" >&2
    exit 3
fi
inside=()
if [ -n "${CONTAINER:-}" ]; then
    inside=("--container-image=$CONTAINER" "--container-mounts=$here:$here:ro" --no-container-mount-home)
fi
# Each node looks at its own GPUs and files first. With another spread than one that fills nodes equally, the count of
# a node is Slurm's to know.
gpus_here=$(((WORLD_SIZE + given - 1) / given))
srun --nodes="$given" --ntasks="$given" --ntasks-per-node=1 "${inside[@]}" bash "$here/check-node.sh" "$gpus_here"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
echo "serving on $first, $host:$port"
exec srun --mpi="${MPI:-pmix}" --kill-on-bad-exit=1 "${inside[@]}" \
    trtllm-llmapi-launch trtllm-serve serve "$here/engine/$MODEL_NAME" --tokenizer "$here/tokenizer" \
    --host "$host" --port "$port" --extra_llm_api_options "$here/serve.yaml" "${SERVE_ARGUMENTS[@]}"
