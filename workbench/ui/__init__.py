"""The window: the only place with Qt. Pages show models; plans and jobs are those of the command line."""
