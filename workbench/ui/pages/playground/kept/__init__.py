"""What is kept: conversations, saved prompts, exports."""
