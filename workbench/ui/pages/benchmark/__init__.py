"""The Benchmark page: a form, the run while it goes on, and its result as chart, numbers and what repeats it."""

from workbench.ui.pages.benchmark.page import BenchmarkPage

__all__ = ["BenchmarkPage"]
