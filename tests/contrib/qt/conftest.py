"""The application that all tests share which run in this process; there can be one only."""

from __future__ import annotations

import os
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def app() -> Any:
    from qtpy.QtWidgets import QApplication

    return QApplication.instance() or QApplication(["tests"])
