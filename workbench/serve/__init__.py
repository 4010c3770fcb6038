"""A server in front of an engine: the OpenAI-compatible front door, its process, and its folder.

A room of its own between the front ends and jobs: it holds an engine as a client does, for as long as it serves.
"""
