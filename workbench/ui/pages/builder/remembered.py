"""What the Build page remembers between starts: read from a file that anybody may have edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.ui.pages.builder.form import Form


@dataclass(frozen=True)
class FormState:
    """What stood in the form. `source` is the preset's file, `values` what `Preset.to_data()` gave."""

    preset_id: str = ""
    source: str = ""
    values: Mapping[str, Any] | None = None
    folds: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, form: Form) -> FormState:
        """With a wrong value in it the form is remembered as it was before."""
        preset = form.last
        folds = {title: fold.is_open for title, fold in form.folds.items()}
        return cls(preset.id, str(preset.source or ""), preset.to_data(), folds)

    def fill(self, form: Form) -> None:
        """Put the values into a form of the same preset, and open or close its groups."""
        if self.values is not None and self.preset_id == form.base.id:
            form.try_values(dict(self.values))
        for title, is_open in self.folds.items():
            if title in form.folds:
                form.folds[title].set_open(is_open)


@dataclass(frozen=True)
class Remembered:
    """The page's state. None: not in the file, or of a wrong kind."""

    form: FormState = field(default_factory=FormState)
    model: str | None = None
    recent: tuple[str, ...] | None = None
    until: str | None = None
    gallery: Mapping[str, Any] | None = None
    target: str | None = None

    def to_state(self) -> dict[str, Any]:
        """JSON values."""
        kept = {"model": self.model, "until": self.until, "gallery": self.gallery, "target": self.target}
        state: dict[str, Any] = {key: value for key, value in kept.items() if value is not None}
        if self.recent is not None:
            state["recent"] = list(self.recent)
        if self.form.values is not None:
            state["form"] = dict(self.form.values)
        return state | {"preset": self.form.preset_id, "source": self.form.source, "folds": dict(self.form.folds)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Remembered:
        """What of it can be used."""
        values, folds, recent = state.get("form"), state.get("folds"), state.get("recent")
        gallery = state.get("gallery")
        return cls(
            FormState(
                _text(state.get("preset")) or "",
                _text(state.get("source")) or "",
                values if isinstance(values, dict) else None,
                {str(title): bool(is_open) for title, is_open in folds.items()} if isinstance(folds, dict) else {},
            ),
            _text(state.get("model")),
            tuple(one for one in recent if isinstance(one, str)) if isinstance(recent, list) else None,
            _text(state.get("until")),
            gallery if isinstance(gallery, dict) else None,
            _text(state.get("target")),
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
