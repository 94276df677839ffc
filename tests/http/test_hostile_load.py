"""The short form of fuzz/hostile_load.py: what hostile clients leave behind them is nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "fuzz" / "hostile_load.py"
# Some 20 s by itself; a machine with other things to do may take longer.
DEADLINE = 300.0


@pytest.mark.skipif(sys.platform != "linux", reason="what a server holds is counted in /proc")
def test_hostile_load() -> None:
    """Issue 3: memory, descriptors, connections and timers are back where they began; nothing unexpected is logged."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--seconds", "14", "--seed", "1", "--connections", "120", "--lenient"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
