"""The conversation as it is shown: rows, answers that stream, Markdown, tokens."""
