"""``python -m pants.web``, the same as the command ``pants-web``."""

import sys

from pants.web._command import main

sys.exit(main())
