"""What runs to talk to a server."""
