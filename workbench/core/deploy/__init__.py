"""What is known of running an engine elsewhere, as data: facts of the engine, files of an export, and their checks."""
