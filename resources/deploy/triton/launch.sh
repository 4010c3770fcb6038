#!/usr/bin/env bash
# Starts Triton with this repository, after checking that the engine can run here.
# Runs inside the container of compose.yaml; see README.md. Settings by environment:
#   TRITON_ADDRESS  where it listens (127.0.0.1)        HTTP_PORT GRPC_PORT METRICS_PORT
#   CHECK_SUMS=1    compare all files with SHA256SUMS   MPI_HOSTFILE  for several nodes
#   CHECK_ONLY=1    only the checks
set -euo pipefail

#@SETTINGS@

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
address="${TRITON_ADDRESS:-127.0.0.1}"
http_port="${HTTP_PORT:-$DEFAULT_HTTP_PORT}"
grpc_port="${GRPC_PORT:-$DEFAULT_GRPC_PORT}"
metrics_port="${METRICS_PORT:-$DEFAULT_METRICS_PORT}"
server=/opt/tritonserver/bin/tritonserver
backend=/opt/tritonserver/backends/tensorrtllm/libtriton_tensorrtllm.so

say() { printf '%s\n' "$*" >&2; }
fail() { say "launch: $1"; say "  fix: $2"; exit 1; }

check_place() {
  [ "$here" = "$ROOT" ] || fail "this folder is seen as $here, and its files say $ROOT" \
    "Run it through compose.yaml, which mounts it there."
  [ -x "$server" ] || fail "there is no Triton here: $server" "Run it inside $IMAGE."
  [ "$FORM" = llmapi ] || [ -e "$backend" ] || fail "this Triton has no backend that runs engines: $backend" \
    "Run it inside $IMAGE, or in an older container with TensorRT-LLM $TENSORRT_LLM."
}

check_files() {
  local rank
  for ((rank = 0; rank < WORLD_SIZE; rank++)); do
    [ -s "$here/engine/rank$rank.engine" ] || fail "rank $rank of $WORLD_SIZE is missing: engine/rank$rank.engine" \
      "Copy the whole export again; where the engine is mounted, mount the folder with all ranks."
  done
  [ -s "$here/engine/config.json" ] || fail "engine/config.json is missing" "Copy the whole export again."
  [ ! -d "$here/draft_engine" ] || [ -s "$here/draft_engine/rank0.engine" ] ||
    fail "the draft engine is missing: draft_engine/rank0.engine" "Copy the whole export again, or mount its folder."
  [ -n "$(ls -A "$here/tokenizer")" ] || fail "the tokenizer is missing" "Copy the whole export again."
  if [ "${CHECK_SUMS:-0}" = 1 ]; then
    (cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) ||
      fail "a file differs from SHA256SUMS" "Copy the export again."
  fi
}

check_version() {
  local found
  found="$(python3 -c 'from importlib.metadata import version; print(version("tensorrt_llm"))' 2>/dev/null || true)"
  [ "$found" = "$TENSORRT_LLM" ] || fail "TensorRT-LLM here is ${found:-not installed}; the engine was built with $TENSORRT_LLM" \
    "Use $IMAGE, or build the engine with the version that is here."
}

check_gpus() {
  local needed=$((WORLD_SIZE / NODES)) rows count row capability index
  command -v nvidia-smi >/dev/null || fail "nvidia-smi is not there" "Start the container with the GPUs."
  rows="$(nvidia-smi --query-gpu=index,name,compute_cap --format=csv,noheader,nounits)" ||
    fail "nvidia-smi does not answer" "Check the driver, and that the container sees the GPUs."
  if [ -n "$GPU_IDS" ]; then
    for index in $GPU_IDS; do
      printf '%s\n' "$rows" | grep -q "^$index," || fail "there is no GPU $index here" "Export again with other GPUs."
    done
    rows="$(for index in $GPU_IDS; do printf '%s\n' "$rows" | grep "^$index,"; done)"
  fi
  count="$(printf '%s\n' "$rows" | grep -c . || true)"
  [ "$count" -ge "$needed" ] || fail "$count GPU(s) are here; the engine needs $needed" \
    "Take a machine with $needed GPUs, or an engine built for fewer."
  [ -n "$COMPUTE_CAPABILITY" ] || return 0
  while IFS= read -r row; do
    capability="${row##*, }"
    [ "$capability" = "$COMPUTE_CAPABILITY" ] ||
      fail "GPU $row: the engine was built on $BUILT_FOR, compute capability $COMPUTE_CAPABILITY" \
        "Build the engine on this kind of GPU, or run it on that one."
  done < <(printf '%s\n' "$rows" | head -n "$needed")
}

check_nodes() {
  [ "$NODES" = 1 ] || [ -n "${MPI_HOSTFILE:-}" ] ||
    fail "the engine runs on $NODES nodes and MPI_HOSTFILE is not set" \
      "Write a host file with $((WORLD_SIZE / NODES)) slots a node and set MPI_HOSTFILE."
}

# The arguments of rank $1. Ranks other than 0 load the engine alone.
rank_command() {
  local rank="$1"
  command_line=("$server" "--model-repository=$here/model_repository")
  command_line+=("--http-port=$http_port" "--grpc-port=$grpc_port" "--metrics-port=$metrics_port")
  command_line+=("--http-address=$address" "--grpc-address=$address" "--metrics-address=$address")
  command_line+=(--disable-auto-complete-config "--backend-config=python,shm-region-prefix-name=rank${rank}_")
  command_line+=("--metrics-config=summary_latencies=true")
  if [ "$rank" != 0 ]; then
    command_line+=(--model-control-mode=explicit --load-model=tensorrt_llm)
  fi
}

check_place
check_files
check_version
check_gpus
check_nodes
say "launch: checks passed: $WORLD_SIZE rank(s), TensorRT-LLM $TENSORRT_LLM"
[ "${CHECK_ONLY:-0}" = 1 ] && exit 0

if [ "$USES_MPI" = 0 ]; then
  # The C++ backend takes GPUs by a parameter of its own; the LLM class takes those that it sees.
  [ "$FORM" != llmapi ] || [ -z "$GPU_IDS" ] || export CUDA_VISIBLE_DEVICES="${GPU_IDS// /,}"
  rank_command 0
  exec "${command_line[@]}"
fi
all=(mpirun)
[ "$(id -u)" = 0 ] && all+=(--allow-run-as-root)
[ -n "${MPI_HOSTFILE:-}" ] && all+=(--hostfile "$MPI_HOSTFILE")
for ((rank = 0; rank < WORLD_SIZE; rank++)); do
  [ "$rank" = 0 ] || all+=(:)
  rank_command "$rank"
  all+=(-n 1 "${command_line[@]}")
done
exec "${all[@]}"
