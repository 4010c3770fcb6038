"""Model folders: fetched, made, and run as the baseline of verify."""
