"""What the tests of the READMEs share: the programs in them."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def blocks(path: str, language: str = "python") -> list[str]:
    """The blocks of code in a file, whose path starts at the root of the repository."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / path).read_text(), re.DOTALL | re.MULTILINE)
