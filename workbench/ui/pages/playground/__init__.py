"""The playground: prompts go to the loaded engine, answers stream back."""
