"""The monitor: panels over one time axis that show memory, tokens, KV cache, GPU and requests, on every page.

Only `dock` and `axis` may be imported before the window is painted: the others bring numpy and pyqtgraph.
"""
