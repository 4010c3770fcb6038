"""Installing toolchains: what each wants, the checks before it, the job, the bundle of wheels, and uninstalling."""
