"""What the metrics mean, one definition each, as readers find them beside the figures."""

from __future__ import annotations

DEFINITIONS: dict[str, str] = {
    "TTFT": "Time to first token: from the moment a request is handed to the transport (open loop: was due) to the "
    "first response with at least one token. An empty first response does not count.",
    "ITL": "Inter-token latency: (last token - first token) / (output tokens - 1), one value a request. AIPerf calls "
    "it ITL, vLLM and trtllm-bench TPOT.",
    "Chunk gap": "Time between two responses with tokens, pooled over requests. vLLM calls it ITL.",
    "Latency": "From the moment a request is handed to the transport to its last token.",
    "Time to second token": "From the first response with tokens to the second.",
    "Output speed per user": "1000 / ITL in tokens a second; TTFT left out.",
    "Output throughput": "All output tokens a second of the measured time, warm-up left out.",
    "Total throughput": "Input and output tokens a second of the measured time.",
    "Request throughput": "Completed requests a second; failures are counted apart.",
    "Goodput": "Requests a second that meet every limit on TTFT, ITL and latency; a missing metric fails its limit.",
    "Percentiles": "By linear interpolation; p99 of fewer than 100 values is printed with their number, p99.9 needs "
    "1,000.",
    "Ratio": "Variant / baseline. A filled dot: better than the baseline; a hollow dot: worse; no dot: the same as "
    "far as it is written, or not comparable.",
    "Interval": "95 %: by bootstrap over requests, prompts or repeats, or from the standard error.",
    "KV capacity": "Tokens that the engine's KV cache holds: blocks times tokens a block, as the engine reports them.",
    "Accepted": "Guesses of speculative decoding that the engine kept / guesses that it checked.",
    "Tokens a pass": "1 + guesses kept / passes of a request in which guesses were checked; 1 without speculative "
    "decoding.",
    "Perplexity": "exp of the mean negative log-likelihood a token on a fixed text. Less is better.",
    "Bits per byte": "Mean negative log2-likelihood a byte of the text: comparable between tokenizers.",
    "Agreement": "Share of positions where the greedy token equals the baseline's, on the baseline's own prefix.",
    "KL divergence": "Mean Kullback-Leibler divergence of next-token distributions, baseline || variant, in nats.",
    "Cost": "Price an hour / output tokens an hour, at the measured throughput.",
    "Output tokens a joule": "Output throughput / mean power of the GPUs while it was measured.",
    "Not reported": "A dash: the engine, server or tool does not report it. It is not zero.",
}
