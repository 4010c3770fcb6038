"""The self-test of an installation: real parts, small, in a home of its own; a report that can be sent to somebody."""
