"""`HTTPHeaders` (manual: "headers": effectively a case-insensitive dictionary that normalizes cases upon iteration)."""

from __future__ import annotations

import pytest

from pants.http import HTTPHeaders


def test_names_are_case_insensitive() -> None:
    headers = HTTPHeaders({"content-TYPE": "text/plain"})
    assert headers["Content-Type"] == headers["CONTENT-TYPE"] == "text/plain"
    assert "content-type" in headers
    assert "Content" not in headers
    assert 1 not in headers  # type: ignore[comparison-overlap]
    assert headers.get("x") is None
    headers["CONTENT-type"] = "text/html"
    assert dict(headers) == {"Content-Type": "text/html"}
    del headers["content-type"]
    assert len(headers) == 0


def test_iteration_gives_normal_names() -> None:
    headers = HTTPHeaders([("host", "a"), ("X-REAL-IP", "b"), ("etag", "c"), ("x-it's", "d")])
    assert list(headers) == ["Host", "X-Real-Ip", "Etag", "X-It's"]
    assert repr(headers) == """HTTPHeaders({'Host': 'a', 'X-Real-Ip': 'b', 'Etag': 'c', "X-It's": 'd'})"""


def test_several_values() -> None:
    """RFC 9110 §5.3: joined by a comma they mean the same; RFC 9113 §8.2.3: cookies are joined by a semicolon."""
    headers = HTTPHeaders([("Via", "a"), ("via", "b, c"), ("Cookie", "d=e"), ("COOKIE", "f=g")])
    assert headers["Via"] == "a, b, c"
    assert headers["cookie"] == "d=e; f=g"
    assert headers.get_list("VIA") == ["a", "b, c"]
    assert headers.get_list("x") == []
    headers.get_list("via").append("d")
    assert headers["via"] == "a, b, c"
    headers.add("via", "d")
    assert headers.get_list("via") == ["a", "b, c", "d"]
    headers["Via"] = "e"
    assert headers.get_list("via") == ["e"]
    assert len(headers) == 2


def test_a_name_that_is_not_there() -> None:
    headers = HTTPHeaders()
    with pytest.raises(KeyError, match="Host"):
        headers["Host"]
    with pytest.raises(KeyError, match="Host"):
        del headers["Host"]


def test_it_is_a_mapping() -> None:
    headers = HTTPHeaders({"a": "b"})
    assert headers == {"A": "b"}
    assert headers.setdefault("A", "c") == "b"
    headers.update({"C": "d"})
    assert headers.pop("c") == "d"
