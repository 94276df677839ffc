"""Which content coding an answer is sent in (RFC 9110 §12.5.3). Sans-IO."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

# Browsers send some 30 characters. Longer ones than that are not looked at: no client has to be sent a coding.
_LONGEST: Final = 512

# An element: a coding and its weight (RFC 9110 §12.4.2).
_match_element: Final = re.compile(
    r"([!#$%&'*+\-.^_`|~0-9a-z]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
).fullmatch

# RFC 9110 §8.4.1: other names of the same.
_SAME: Final = {"x-gzip": "gzip", "x-compress": "compress"}


def accepted_codings(value: str) -> dict[str, float]:
    """Take an Accept-Encoding field apart.

    What is malformed in it is skipped. Of a coding that is named twice, the first weight counts.

    Args:
        value: The field's value.

    Returns:
        The weight, from 0.0 to 1.0, of each coding, ``identity`` and ``*`` that is named, in lower case.
    """
    weights: dict[str, float] = {}
    for element in value.lower().split(","):
        match = _match_element(element.strip(" \t"))
        if match is not None:
            weights.setdefault(_SAME.get(match[1], match[1]), 1.0 if match[2] is None else float(match[2]))
    return weights


def choose_coding(accept_encoding: str | None, offered: Sequence[str]) -> str | None:
    """Choose the content coding of an answer: that which the client likes best.

    Args:
        accept_encoding: The request's Accept-Encoding; None if it has none. One that is longer than 512 characters is
            treated as if it were not there.
        offered: The codings to choose from, in lower case. The first is taken of those that the client likes equally.

    Returns:
        The coding. None for none of them, ``identity``: where the client prefers it, where it did not ask for any
        coding, and where it refuses all that there is, ``identity`` included, for it is served all the same then
        (RFC 9110 §12.5.3).
    """
    if not accept_encoding or len(accept_encoding) > _LONGEST:
        return None
    return _choose(accept_encoding, tuple(offered))


@functools.lru_cache(maxsize=256)
def _choose(accept_encoding: str, offered: tuple[str, ...]) -> str | None:
    weights = accepted_codings(accept_encoding)
    others = weights.get("*", 0.0)
    best = None
    # Whatever is accepted comes before an identity that is not mentioned; it needs not be.
    best_weight = weights.get("identity", others)
    for coding in offered:
        weight = weights.get(coding, others)
        if weight > best_weight or (best is None and weight == best_weight > 0):
            best, best_weight = coding, weight
    return best
