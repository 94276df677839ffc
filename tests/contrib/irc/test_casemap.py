"""Names that are the same (RFC 1459 §2.2, CASEMAPPING of ISUPPORT)."""

from __future__ import annotations

import pytest

from pants.contrib.irc._casemap import FoldedDict, folding


@pytest.mark.parametrize(
    "casemapping, folded",
    [
        ("rfc1459", "abc{}|~é"),
        ("RFC1459", "abc{}|~é"),
        ("strict-rfc1459", "abc{}|^é"),
        ("rfc1459-strict", "abc{}|^é"),
        ("ascii", "abc[]\\^é"),
        ("something-new", "abc[]\\^é"),
    ],
)
def test_foldings(casemapping: str, folded: str) -> None:
    assert folding(casemapping)("aBC[]\\^é") == folded


def test_only_ascii_has_a_case() -> None:
    for casemapping in ("ascii", "rfc1459"):
        assert folding(casemapping)("É") == "É"


def test_mapping() -> None:
    names = FoldedDict[int]()
    names["Spam[1]"] = 1
    assert names["sPAM{1}"] == names.get("spam[1}") == 1
    assert "SPAM[1]" in names
    assert 1 not in names  # type: ignore[comparison-overlap]
    assert list(names) == ["Spam[1]"]
    names["spam{1}"] = 2
    assert dict(names) == {"spam{1}": 2}
    assert len(names) == 1
    del names["SPAM[1]"]
    assert not names
    with pytest.raises(KeyError, match="Eggs"):
        names["Eggs"]
    assert repr(names) == "FoldedDict({})"


def test_views_are_of_the_moment() -> None:
    """A hook may go through the channels, and leave them."""
    names = FoldedDict[int]()
    names["A"], names["b"] = 1, 2
    assert (list(names.items()), list(names.values())) == ([("A", 1), ("b", 2)], [1, 2])
    for name, value in names.items():
        assert names.pop(name.swapcase()) == value
    assert not names


def test_refold() -> None:
    names = FoldedDict[int](folding("ascii"))
    names["a["], names["A{"], names["b"] = 1, 2, 3
    assert len(names) == 3
    names.refold(folding("rfc1459"))
    assert dict(names) == {"A{": 2, "b": 3}
    names.refold(folding("ascii"))
    assert "a[" not in names
