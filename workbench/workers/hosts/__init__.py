"""What all engine hosts share."""
