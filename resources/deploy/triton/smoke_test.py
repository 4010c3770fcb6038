#!/usr/bin/env python3
"""Asks a running Triton something, whole and streamed, and looks at its metrics. Python's own library is enough.

python3 smoke_test.py [--url http://127.0.0.1:8000] [--metrics http://127.0.0.1:8002/metrics] [--wait 600]
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request

SETTINGS = json.loads("""@SETTINGS@""")


def fetch(url, body=None, timeout=120):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)


def wait_until_ready(url, seconds):
    end = time.monotonic() + seconds
    while True:
        try:
            with fetch(f"{url}/v2/health/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError as error:
            if time.monotonic() > end:
                sys.exit(f"not ready after {seconds:g} s: {error}")
        time.sleep(1)


def body(model, stream):
    text, length = "The capital of France is", 16
    if SETTINGS["form"] == "llmapi":
        return {"text_input": text, "sampling_param_max_tokens": length, "streaming": stream}
    return {"text_input": text, "max_tokens": length, "top_k": 1, "stream": stream}


def whole(url, model):
    with fetch(f"{url}/v2/models/{model}/generate", body(model, False)) as answer:
        return json.load(answer)["text_output"]


def streamed(url, model):
    pieces = []
    with fetch(f"{url}/v2/models/{model}/generate_stream", body(model, True)) as answer:
        for line in answer:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line[5:])
            if event.get("error"):
                sys.exit(f"{model} sent an error: {event['error']}")
            pieces.append(event.get("text_output", ""))
    return pieces


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default=SETTINGS["url"])
    parser.add_argument("--metrics", default=SETTINGS["metrics"])
    parser.add_argument("--wait", type=float, default=600.0, help="seconds until it must be ready")
    given = parser.parse_args()
    url = given.url.rstrip("/")
    wait_until_ready(url, given.wait)
    for model in SETTINGS["models"]:
        with fetch(f"{url}/v2/models/{model}/ready") as answer:
            print(f"{model}: ready ({answer.status})")
    for model in SETTINGS["ask"]:
        text = whole(url, model)
        print(f"{model}: {text!r}")
        if not str(text).strip():
            sys.exit(f"{model} answered with no text")
    if SETTINGS["decoupled"]:
        pieces = streamed(url, SETTINGS["stream"])
        print(f"{SETTINGS['stream']} streamed {len(pieces)} pieces: {''.join(pieces)!r}")
        if not "".join(pieces).strip():
            sys.exit("the stream brought no text")
    with fetch(given.metrics) as answer:
        if b"nv_inference_request_success" not in answer.read():
            sys.exit(f"no request is counted at {given.metrics}")
    print("passed")


if __name__ == "__main__":
    try:
        main()
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.url}: {error.code} {error.read(2000).decode(errors='replace')}")
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
