"""What `workbench compare` says of quality: a claim where the interval carries it, and what is simulated as such."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes.comparisons import comparison, subject
from workbench.cli.quality_words import quality_lines, verdict_words
from workbench.core.errors import Failure
from workbench.core.measure.comparison import Comparison
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.matrix import make_matrix
from workbench.core.measure.quality import QualityRecord


def with_quality(made: Comparison, number: int, **changes: object) -> Comparison:
    records = list(made.quality)
    records[number] = records[number].model_copy(update=changes)
    return replace(made, quality=tuple(records))


def test_a_claim_is_made_only_where_the_interval_carries_it() -> None:
    made = comparison()
    first, base, near, far, *_ = quality_lines(made)
    assert "95 % intervals" in first
    assert base.startswith("  FP16 OpenVINO: baseline; perplexity 14.200 (13.774 to 14.626)") and "KL" not in base
    assert "perplexity within 1 % of the baseline" in near and "agreement 98.0 % (97.5 % to 98.5 %)" in near
    assert (
        "arc-easy acc_norm 54.0 % (50.0 % to 60.0 %) of 200 questions, -3.0 to +2.0 points against the baseline" in near
    )
    assert "perplexity between 1.4 % and 1.8 % worse" in far
    assert [verdict_words(record) for record in made.quality[:2]] == ["", "within 1 % of the baseline"]
    unsure = with_quality(made, 1, perplexity_ratio=Estimate(value=1.001, low=0.98, high=1.02, n=4000))
    assert "cannot tell: the interval is -2 % to +2 %" in list(quality_lines(unsure))[2]
    alone = with_quality(made, 1, perplexity_ratio=Estimate(value=1.001, n=40))
    assert "cannot tell: +0.1 % measured, too little for an interval" in list(quality_lines(alone))[2]


def test_what_is_simulated_missing_failed_or_doubtful_is_said() -> None:
    simulated = subject(2, "fp8", id="sim-fp8", name="FP8 simulated", simulated=True)
    made = comparison((subject(1, "fp16"), simulated))
    assert "simulated, no engine of it was measured" in list(quality_lines(made))[2]
    other = with_quality(
        made, 1, perplexity_ratio=None, agreement=None, not_reported={"agreement": "different tokenizer"},
        bits_per_byte=Estimate(value=1.2, n=9), warnings=("2 of 32 passages share 13 words in a row",),
    )  # fmt: skip
    lines = list(quality_lines(other))
    assert "agreement not reported: different tokenizer" in lines[2] and "bits a byte 1.2000, no interval" in lines[2]
    assert lines[-1] == "  FP8 simulated: 2 of 32 passages share 13 words in a row"
    failure = Failure(code="x", what="ModelOpt is not there.", evidence="no such file", fix="")
    failed = replace(made, quality=(made.quality[0], QualityRecord(subject="sim-fp8", baseline="s1", failure=failure)))
    assert "  FP8 simulated: ModelOpt is not there. no such file" in list(quality_lines(failed))
    assert not list(quality_lines(replace(made, quality=())))


def test_the_matrix_says_whose_text_the_perplexity_is_on() -> None:
    made = comparison()

    def unit(one: Comparison) -> str:
        return next(column.unit for column in make_matrix(one).columns if column.id == "perplexity")

    assert unit(made) == "shipped text"
    assert unit(with_quality(made, 0, text="wiki.txt, SHA-256 12ab")) == "own text"
