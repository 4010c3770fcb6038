"""How far a TensorRT-RTX build is: shares of its stages, seconds to go, and where nothing can be known.

Fed with what IProgressMonitor, the parser's log and the engine's writer say. Compiling a profile is one step of the
monitor, half of a build or more, in which neither monitor nor log says a word: there the share stands still, and the
seconds to go come from how the stages' lengths have compared in other builds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PARSE, PREPARE, COMPILE, WEIGHTS, WRITE = "parse", "prepare", "compile", "weights", "write"
_PREPARING = ("Cloning network graph", "Preparing graph for optimization", "Optimizing graph")
_COMPILING = "Computing profile costs"
_STEPS_A_PROFILE = 5
_WITHIN_PROFILE = (0.01, 0.02, 0.03, 0.97, 1.0)
"""Share of a profile's stage that is done after each of the monitor's five steps; the fourth ends the compilation."""
_SILENT_AFTER = 2
"""The step of the five after which it is silent."""

# Lengths of the stages in builds of SmolLM2-135M in several precisions, on two CPU cores.
_SHARES = {PARSE: 4.0, PREPARE: 3.0, WEIGHTS: 2.0, WRITE: 8.0}
_FIRST_PROFILE, _LATER_PROFILE = 46.0, 34.0
_COMPILE_OF_BEFORE = 6.5
"""A first profile's compilation against parsing and preparing."""
_LATER_OF_FIRST = _LATER_PROFILE / _FIRST_PROFILE
_WEIGHTS_OF_COMPILE, _WRITE_OF_COMPILE = 0.02, 0.08
_OVERDUE = 0.15
"""A stage that has taken longer than was thought takes this share of its time more."""


@dataclass
class _Stage:
    name: str
    weight: float
    done: float = 0.0
    began_s: float | None = None
    ended_s: float | None = None

    @property
    def seconds(self) -> float | None:
        return None if self.began_s is None or self.ended_s is None else self.ended_s - self.began_s


@dataclass
class BuildProgress:
    """One build of an engine with `profiles` optimisation profiles. Times are seconds on the caller's clock."""

    profiles: int = 1
    phases: int = 0
    """Phases that the monitor has begun."""
    steps: int = 0
    """Steps that it has completed."""
    longest_silence_s: float = 0.0
    _stages: list[_Stage] = field(default_factory=list)
    _at: int = -1
    _share: float = 0.0
    _totals: dict[str, int] = field(default_factory=dict)
    _heard_s: float | None = None
    _silent: bool = False

    def __post_init__(self) -> None:
        compiling = [_FIRST_PROFILE] + [_LATER_PROFILE] * (self.profiles - 1)
        self._stages = [
            _Stage(PARSE, _SHARES[PARSE]),
            _Stage(PREPARE, _SHARES[PREPARE]),
            *(_Stage(COMPILE, weight) for weight in compiling),
            _Stage(WEIGHTS, _SHARES[WEIGHTS]),
            _Stage(WRITE, _SHARES[WRITE]),
        ]

    # --- what is heard ---

    def parse(self, done: int, total: int, now_s: float) -> None:
        """`done` of `total` nodes are parsed."""
        self._enter(0, now_s)
        self._progress(0, done / total if total else 0.0, now_s)

    def phase_start(self, name: str, steps: int, now_s: float) -> None:
        """The monitor begins a phase."""
        self.phases += 1
        self._totals[name] = steps
        if name in _PREPARING:
            self._enter(1, now_s)
        elif name == _COMPILING:
            self._enter(2, now_s)
        self._hear(now_s)

    def step(self, name: str, number: int, now_s: float) -> None:
        """The monitor has completed step `number`, counted from 0, of a phase."""
        self.steps += 1
        total = max(self._totals.get(name, 1), 1)
        self._hear(now_s)
        if name in _PREPARING:
            self._progress(1, (_PREPARING.index(name) + (number + 1) / total) / len(_PREPARING), now_s)
        elif name == _COMPILING:
            self._compiled(number, total, now_s)

    def phase_finish(self, name: str, now_s: float) -> None:
        """A phase of the monitor is over."""
        self._hear(now_s)
        if name == _COMPILING:
            self._enter(len(self._stages) - 2, now_s)
            self._progress(len(self._stages) - 2, 0.95, now_s)

    def write(self, done: int, total: int | None, now_s: float) -> None:
        """`done` bytes of the engine are written, of about `total`."""
        self._enter(len(self._stages) - 1, now_s)
        self._hear(now_s)
        if total:
            self._progress(len(self._stages) - 1, min(done / total, 0.99), now_s)

    def finish(self, now_s: float) -> None:
        """The engine is written."""
        self._enter(len(self._stages) - 1, now_s)
        self._stages[-1].ended_s = now_s
        self._share = 1.0

    # --- what it means ---

    @property
    def stage(self) -> str:
        """The current stage; "" before the first."""
        return self._stages[self._at].name if self._at >= 0 else ""

    @property
    def profile(self) -> int:
        """The profile that is compiled, from 0."""
        return min(max(self._at - 2, 0), self.profiles - 1)

    @property
    def silent(self) -> bool:
        """Whether a profile is being compiled, of which nothing is heard until it is over."""
        return self._silent

    @property
    def share(self) -> float:
        """Share that is known to be done, 0 to 1. It never goes back, and stands still while nothing is heard."""
        return self._share

    @property
    def stage_seconds(self) -> dict[str, list[float]]:
        """Seconds of each stage that is over; `compile` has one a profile."""
        found: dict[str, list[float]] = {}
        for stage in self._stages:
            if stage.seconds is not None:
                found.setdefault(stage.name, []).append(round(stage.seconds, 3))
        return found

    def left_s(self, now_s: float) -> float | None:
        """Seconds to go, an estimate; None until the network is parsed and prepared.

        What was measured in this build counts first: the second profile goes by the first, writing by the bytes.
        """
        if self._at < 2 or self._stages[1].ended_s is None or self._stages[0].began_s is None:
            return None
        before_s = self._stages[1].ended_s - self._stages[0].began_s
        compiling = self._stages[2 : 2 + self.profiles]
        spent_s = now_s - (compiling[0].began_s if compiling[0].began_s is not None else now_s)
        first_s = compiling[0].seconds or max(_COMPILE_OF_BEFORE * before_s, spent_s)
        expected = [first_s] + [first_s * _LATER_OF_FIRST] * (self.profiles - 1)
        compile_s = sum(stage.seconds or guess for stage, guess in zip(compiling, expected, strict=True))
        expected += [compile_s * _WEIGHTS_OF_COMPILE, compile_s * _WRITE_OF_COMPILE]
        left = 0.0
        for place, (stage, guess) in enumerate(zip(self._stages[2:], expected, strict=True), 2):
            if place < self._at or stage.ended_s is not None:
                continue
            spent = now_s - stage.began_s if stage.began_s is not None else 0.0
            if stage.name == WRITE and stage.done > 0.02:
                guess = spent / stage.done
            left += max(guess - spent, _OVERDUE * spent)
        return left

    # --- counting ---

    def _compiled(self, number: int, total: int, now_s: float) -> None:
        per, index = total // self.profiles if total % self.profiles == 0 else 0, 0
        if per != _STEPS_A_PROFILE:  # another version counts otherwise
            place = min((number * self.profiles) // total, self.profiles - 1)
            within = (number + 1) * self.profiles / total - place
        else:
            place, index = divmod(number, per)
            within = _WITHIN_PROFILE[index]
        self._enter(2 + place, now_s)
        self._silent = bool(per == _STEPS_A_PROFILE and index == _SILENT_AFTER)
        self._progress(2 + place, within, now_s)
        if within >= 1.0:
            self._stages[2 + place].ended_s = now_s
            if place + 1 < self.profiles:
                self._enter(3 + place, now_s)

    def _hear(self, now_s: float) -> None:
        if self._heard_s is not None:
            self.longest_silence_s = max(self.longest_silence_s, now_s - self._heard_s)
        self._heard_s = now_s

    def _enter(self, place: int, now_s: float) -> None:
        if place <= self._at:
            return
        self._silent = False
        for stage in self._stages[max(self._at, 0) : place]:
            stage.done = 1.0
            if stage.began_s is not None and stage.ended_s is None:
                stage.ended_s = now_s
        self._at = place
        self._stages[place].began_s = now_s
        self._update()

    def _progress(self, place: int, done: float, now_s: float) -> None:
        stage = self._stages[place]
        stage.done = max(stage.done, min(done, 1.0))
        self._update()

    def _update(self) -> None:
        whole = sum(stage.weight for stage in self._stages)
        self._share = max(self._share, min(sum(stage.weight * stage.done for stage in self._stages) / whole, 0.999))
