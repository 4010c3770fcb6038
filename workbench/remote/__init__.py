"""Workers on other machines: `python -m workbench.remote.relay` stands in a worker's place and passes its messages on.

A room of its own: nothing imports it. It is started by argv, as a worker is, and speaks the worker protocol, so that
jobs know nothing of SSH or Slurm.
"""
