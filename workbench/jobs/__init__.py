"""Jobs: a detached supervisor a job, its folder as the one truth, and the clients that start, follow and cancel."""
