"""The command line over the same plans and queue as the window."""
