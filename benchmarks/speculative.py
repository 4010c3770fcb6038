"""Speculative decoding on this machine: tokens a second of one engine without guesses, with a draft's, and with those
looked up in the prompt; on a text to be repeated and on free questions. Rounds alternate; medians.

Answers are held against those without guesses up to the first token that differs. They may differ where two tokens are
all but equally likely: a pass that checks guesses rounds otherwise than one that makes a single token, by about 0.1 in
a logit where a CPU computes in bfloat16. Computed in FP32 they are the same.

The bar is on what costs nothing and should pay: looking up, on the text to be repeated. What a draft brings depends on
its speed beside the engine's, which on a few cores is little; it is told whatever it is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import find_engine, finish, table  # noqa: E402

from workbench.core.home import Home  # noqa: E402
from workbench.core.messages import ChatTurn, Sampling  # noqa: E402
from workbench.core.speculative import acceptance_rate, tokens_a_pass  # noqa: E402
from workbench.jobs.engine import EngineClient, HostCommand  # noqa: E402
from workbench.toolchains.running import engine_start  # noqa: E402

BAR = 1.1
TEXT = (
    "The ferry leaves the old harbour at seven in the morning and calls at three islands before noon. Tickets are "
    "sold on board, dogs travel free, and the last boat back leaves the outermost island at six in the evening."
)
PROMPTS = {
    "repeat": f"Repeat this text word for word.\n\n{TEXT}",
    "free": "Explain in a few sentences why the sky is blue and why sunsets are red.",
}


class Way:
    """One way to decode, with its host."""

    def __init__(self, name: str, engine: Path, overrides: list[str], folder: Path) -> None:
        self.name = name
        common = ["runtime.kv_cache_gib=0.5", "limits.max_batch_size=4"]
        home = Home(folder / "home").make()
        start = engine_start(home, engine, [*common, *overrides], {"WORKBENCH_OPENVINO_PYTHON": sys.executable}).start
        command = HostCommand(argv=start.argv, env=start.env, spec=start.spec)
        self.client = EngineClient.start(command, folder / f"{name}.log")
        self.speeds: dict[str, list[float]] = {kind: [] for kind in PROMPTS}
        self.counts: dict[str, list[int]] = {kind: [0, 0, 0] for kind in PROMPTS}
        self.ids: dict[str, tuple[int, ...]] = {}

    def ask(self, kind: str, tokens: int) -> None:
        """One answer of fixed length; its speed is of the time between its first and last token."""
        sampling = Sampling(max_tokens=tokens, ignore_eos=True)
        asked = (ChatTurn(role="user", content=PROMPTS[kind]),)
        answer = self.client.submit(messages=asked, sampling=sampling).result(600).raise_for_failure()
        assert answer.output_tokens == tokens and answer.output_tok_s is not None
        self.speeds[kind].append(answer.output_tok_s)
        self.ids[kind] = answer.ids
        if (drafted := answer.drafted) is not None:
            told = (drafted.draft_tokens, drafted.accepted_tokens, drafted.passes)
            self.counts[kind] = [a + (b or 0) for a, b in zip(self.counts[kind], told, strict=True)]

    def speed(self, kind: str) -> float:
        return statistics.median(self.speeds[kind])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", help="engine folder (default: the demo's)")
    parser.add_argument("--draft", default="int4", help="its draft: an engine folder, or a precision beside it")
    parser.add_argument("--draft-tokens", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    engine = find_engine(args.engine)
    tokens = f"speculative.draft_tokens={args.draft_tokens}"
    wanted = {
        "none": [],
        "draft": ["speculative.mode=draft_target", f"speculative.draft={args.draft}", tokens],
        "lookup": ["speculative.mode=prompt_lookup", tokens],
    }
    with tempfile.TemporaryDirectory() as folder:
        ways = [Way(name, engine, overrides, Path(folder)) for name, overrides in wanted.items()]
        try:
            for place in range(args.rounds + 1):  # the first warms up
                for way in ways if place % 2 else reversed(ways):
                    for kind in PROMPTS:
                        way.ask(kind, args.tokens)
                        if not place:
                            way.speeds[kind].clear()
        finally:
            for way in ways:
                way.client.close()
    report(ways, engine, args)


def report(ways: list[Way], engine: Path, args: argparse.Namespace) -> None:
    plain, rows, detail = ways[0], [], dict[str, Any](engine=engine.name, draft=Path(args.draft).name)
    for kind in PROMPTS:
        for way in ways:
            drafted, accepted, passes = way.counts[kind]
            rate = acceptance_rate(drafted, accepted)
            mean = tokens_a_pass(accepted, passes)
            same = same_until(way.ids[kind], plain.ids[kind])
            ratio = way.speed(kind) / plain.speed(kind)
            shown = (f"{rate:.0%}" if rate is not None else "-", f"{mean:.2f}" if mean is not None else "-")
            rows.append(
                (kind, way.name, f"{way.speed(kind):.1f}", f"{ratio:.2f}", *shown, "all" if same is None else same)
            )
            detail[f"{kind}.{way.name}"] = {
                "tok_s": round(way.speed(kind), 2),
                "ratio": round(ratio, 3),
                "acceptance": None if rate is None else round(rate, 3),
                "tokens_a_pass": None if mean is None else round(mean, 3),
                "same_until": same,
            }
    print(table(("prompt", "guesses", "tok/s", "ratio", "accepted", "tokens/pass", "same until"), rows))
    finish("speculative", ways[2].speed("repeat") / plain.speed("repeat"), BAR, detail)


def same_until(ids: tuple[int, ...], plain: tuple[int, ...]) -> int | None:
    """Place of the first token that differs; None: none does."""
    return next((place for place, pair in enumerate(zip(ids, plain, strict=True)) if pair[0] != pair[1]), None)


if __name__ == "__main__":
    main()
