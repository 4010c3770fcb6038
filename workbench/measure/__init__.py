"""Measuring: engines, load, quality and what becomes of them, together.

A room of its own because a measurement needs toolchains (to start an engine), jobs (its client), bench (the load),
telemetry and store at once, which may not know each other; and the command line and the window run the same one.
"""
