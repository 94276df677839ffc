"""What an answer depends on (RFC 9110 §12.5.5)."""

from __future__ import annotations

from pants.http import HTTPHeaders


def add_vary(headers: HTTPHeaders, name: str) -> None:
    """Tell caches that an answer depends on a field of the request, if they have not been told.

    Args:
        headers: The fields of the answer.
        name: The name of the field.
    """
    members = [member.strip().lower() for member in headers.get("Vary", "").split(",")]
    if "*" not in members and name.lower() not in members:
        headers.add("Vary", name)
