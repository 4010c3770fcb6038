"""`python -m workbench.ui`."""

import sys

from workbench.ui.start import main

sys.exit(main())
