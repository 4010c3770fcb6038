"""Builds the installed tree: an interpreter of its own, the locked libraries, the program, licences and an SBOM.

Run by packaging/build.sh in a virtual environment of its own; nothing of it ships.
"""
