"""Reports: one frozen model of what was measured and compared, and one writer a format beside it."""
