"""The window: the only place with Qt. Its pages show models; jobs, plans and stores are used as the command line does."""
