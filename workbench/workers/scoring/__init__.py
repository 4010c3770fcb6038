"""Scoring: what all toolchains' score workers do the same way, over whatever gives them logits."""
