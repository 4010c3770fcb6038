"""The frame round the pages: rail, header, notices, monitor, status bar, command palette."""
