"""The Compare page: variants against a baseline, in figures, answers, curves, quality and settings."""
