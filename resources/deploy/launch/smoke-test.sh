#!/usr/bin/env bash
# Asks a running server for a short answer: waits until it is ready, then a completion, then a streamed one.
#
#   URL=http://127.0.0.1:8000   the server
#   API_KEY=...                 where it wants one
#   WAIT_S=600                  how long to wait for it
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/settings.sh"
url=${URL:-http://127.0.0.1:${PORT:-$DEFAULT_PORT}}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The key goes through a file that only its owner reads: an argument could be read by every user of the machine.
: >"$scratch/curl"
chmod 600 "$scratch/curl"
if [ -n "${API_KEY:-}" ]; then
    key=${API_KEY//\\/\\\\}
    printf 'header = "Authorization: Bearer %s"\n' "${key//\"/\\\"}" >"$scratch/curl"
fi

ask() { curl --silent --show-error --max-time 60 --config "$scratch/curl" "$@"; }

ends=$((SECONDS + ${WAIT_S:-600}))
until curl --silent --fail --max-time 5 --output /dev/null "$url/health"; do
    if [ "$SECONDS" -ge "$ends" ]; then
        echo "$url/health does not say that it is ready" >&2
        exit 1
    fi
    sleep 1
done
echo "ready"
listed=$(ask "$url/v1/models")
model=$(sed -n 's/.*"id" *: *"\([^"]*\)".*/\1/p' <<<"$listed" | sed -n 1p)
if [ -z "$model" ]; then
    echo "$url/v1/models names no model: ${listed:0:300}" >&2
    exit 1
fi
body="{\"model\": \"$model\", \"prompt\": \"The capital of France is\", \"max_tokens\": 8, \"temperature\": 0"
answer=$(ask "$url/v1/completions" -H 'Content-Type: application/json' -d "$body}")
case $answer in
*'"choices"'*) echo "completion: $(printf '%s' "$answer" | sed -n 's/.*"text" *: *\("[^"]*"\).*/\1/p' | sed -n 1p)" ;;
*)
    echo "no completion: $answer" >&2
    exit 1
    ;;
esac
ask --no-buffer "$url/v1/completions" -H 'Content-Type: application/json' -d "$body, \"stream\": true}" >"$scratch/stream"
pieces=$(grep -c '^data: {' "$scratch/stream" || true)
if [ "$pieces" -lt 1 ] || ! grep -q '^data: \[DONE\]' "$scratch/stream"; then
    echo "the stream broke off: $(tail -n 2 "$scratch/stream")" >&2
    exit 1
fi
echo "stream: $pieces events"
echo "$ENGINE_NAME answers as $model at $url"
