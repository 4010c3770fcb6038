"""SQLite index of jobs, steps, artefacts and file digests; the folders stay the truth."""
