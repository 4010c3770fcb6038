"""The same prompts to all variants: answers side by side and where they part."""
