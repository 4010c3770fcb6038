"""`python -m workbench.serve FOLDER LOCK_FD KEY_FD`: one server, detached. Started by workbench.serve.client alone."""

from __future__ import annotations

import sys

from workbench.serve.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
