"""JSON that a client has sent (RFC 8259)."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, Final, NoReturn

from pants.http._refused import Refused

# The most values within one another. Python could read some more, and then not write them.
_DEEPEST: Final = 500

# Nothing is tried twice; one that does not end goes to the end.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKET: Final = re.compile(r"[^\[\]{}]+")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_STEPS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def parse_json(body: bytes) -> Any:
    """Return what a body says: nothing but what JSON has, and could be sent back as it.

    Args:
        body: In UTF-8, or UTF-16 or -32, which is told by its first bytes.

    Raises:
        Refused: 400, it is malformed; it has a number out of bounds, or half of a surrogate pair; or it is nested too
            deeply.
    """
    try:
        text = body.decode(json.detect_encoding(body))
        if _is_deep(text):
            raise Refused(400, "The content is nested too deeply")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refused(400, "The content is not JSON") from None
    return value


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= _DEEPEST:
        return False
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > _DEEPEST


def _refuse(name: str) -> NoReturn:
    """Refuse what Python takes for JSON, and nobody else does: NaN, and infinities."""
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number
