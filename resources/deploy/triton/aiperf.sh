#!/usr/bin/env bash
# A load test with AIPerf (pip install aiperf), streamed. `workbench bench` measures the same server; see README.md.
# The address and the concurrency can be given: ./aiperf.sh http://box:8000 32
set -euo pipefail

#@SETTINGS@

# Without links in it: AIPerf reads a template from no path that has one.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
url="${1:-$URL}"
concurrency="${2:-$CONCURRENCY}"
exec aiperf profile \
  --model "$MODEL" \
  --url "$url/v2/models/$MODEL/generate_stream" \
  --endpoint-type template \
  --extra-inputs "payload_template:$here/aiperf-payload.jinja" \
  --extra-inputs response_field:text_output \
  --tokenizer "$here/tokenizer" \
  --streaming \
  --synthetic-input-tokens-mean "$INPUT_TOKENS" \
  --output-tokens-mean "$OUTPUT_TOKENS" \
  --concurrency "$concurrency" \
  --request-count "$((concurrency * 20))" \
  --random-seed 1
