"""A burst: its controls, its card and its rows."""
