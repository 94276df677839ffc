"""Which of many rules is taken, and that finding it costs no more than among few (docstring of `Module.route`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pants.web import Converter, converters, register_converter
from pants.web._patterns import Piece, Strings, Variable
from pants.web._rules import Rule
from pants.web.routing import Match, Missing, Route, RouteTable, decoded


@pytest.fixture(autouse=True, scope="module")
def own_converters() -> Iterator[None]:
    """Registers two converters, and forgets them."""
    before = dict(converters._registered)

    @register_converter
    class Pair(Converter):
        regex = "([ab])([a1]?)"

    @register_converter
    class Letters(Converter):
        regex = "[ab]+"

    yield
    converters._registered.clear()
    converters._registered.update(before)


def view(*_: Any) -> None:
    """No test in here calls it."""


# --- A search without an index ----------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A rule that matches a request."""

    order: tuple[Any, ...]
    text: str
    methods: tuple[str, ...]
    strings: Strings


def match_pieces(pieces: Sequence[Piece], text: str) -> Strings | None:
    """Manual, "Regex": the snippets of the converters make "the rule's final expression"."""
    parts = [piece.source if isinstance(piece, Variable) else re.escape(piece) for piece in pieces]
    found = re.fullmatch("".join(parts), text)
    return None if found is None else found.groups()


def match_path(rule: Rule, text: str) -> Strings | None:
    """The whole path, or what comes before a variable with a default."""
    strings = match_pieces(rule.pieces, text)
    for i, piece in enumerate(rule.pieces):
        if strings is None and isinstance(piece, Variable) and piece.default is not None:
            strings = match_pieces(rule.pieces[:i], text)
    return strings


def text_behind(pieces: Sequence[Piece]) -> str:
    return pieces[-1] if isinstance(pieces[-1], str) else ""


def search(rules: list[tuple[Rule, tuple[str, ...]]], path: str, host: str) -> list[Candidate]:
    """All rules that match, the first one to take first, by the order that `Module.route` documents."""
    found = []
    domains: list[str] = []
    for i, (rule, methods) in enumerate(rules):
        own: Strings = ()
        by_domain: tuple[int, ...] = (2,)
        if rule.domain is not None:
            name = rule.text.partition("/")[0].lower()
            if name not in domains:
                domains.append(name)
            matched = match_pieces(rule.domain.pieces, host)
            if matched is None:
                continue
            own = matched
            is_fixed = len(rule.domain.pieces) == 1 and isinstance(rule.domain.pieces[0], str)
            by_domain = (0,) if is_fixed else (1, -len(text_behind(rule.domain.pieces)), domains.index(name))
        strings = match_path(rule, decoded(path))
        if strings is not None:
            has_variables = len(rule.pieces) > 1
            by_path = (1, -len(rule.begins), i) if has_variables else (0, 0, i)
            found.append(Candidate((by_domain, by_path), rule.text, methods, own + strings))
    return sorted(found, key=lambda candidate: candidate.order)


VARIABLES = [
    "<>",
    "<>",
    "<string(min=0):>",
    "<string(max=2):>",
    "<domainpart:>",
    "<int:>",
    "<int(digits=1):>",
    "<float:>",
    "<path:>",
    "<any(a ab b):>",
    "<any('' a 'a/b'):>",
    "<regex('[ab]+'):>",
    "<regex('a(/b)?'):>",
    "<pair:>",
    "<letters:>",
    "<=b>",
    "<path:=>",
    "<int:=1>",
]
DOMAINS = ["", "", "", "a.b", "B.A", "<>.b", "<>.a.b", "<>", "a<>", "<>-<>.b", "<any(a b):>.b", "<regex('[ab.]+'):>"]
HOSTS = ["a.b", "b.a", "a", "b.b", "b.a.b", "a-b.b", "ab", "a.b."]
PIECES = st.one_of(st.sampled_from(["/", "/", "/", "a", "b", "ab", "1", "-", ".a"]), st.sampled_from(VARIABLES))
METHODS = st.sampled_from([("GET",), ("POST",), ("GET", "POST"), ("HEAD", "PUT")])


def named(domain: str, pieces: list[str]) -> str:
    """A rule of these, whose variables have got names."""
    parts = [f"{domain}/", *pieces]
    number = 0
    for i, part in enumerate(parts):
        while (found := re.search(r"(?<=<)(?=[>=])|(?<=:)(?=[>=])", part)) is not None:
            part = f"{part[: found.start()]}v{number}{part[found.start() :]}"
            number += 1
        parts[i] = part
    return "".join(parts)


RULES = st.builds(named, st.sampled_from(DOMAINS), st.lists(PIECES, max_size=5))
SEGMENTS = st.sampled_from(["a", "b", "ab", "1", "-", ".a", "/", "/", "/", "%2F", "%61", "%FF", "a/b", "12"])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(RULES, METHODS), max_size=25, unique_by=lambda item: item[0]),
    st.lists(st.tuples(st.lists(SEGMENTS, max_size=6).map("".join), st.sampled_from(HOSTS)), min_size=1, max_size=6),
)
def test_the_index_finds_what_a_search_finds(
    given_rules: list[tuple[str, tuple[str, ...]]], requests: list[tuple[str, str]]
) -> None:
    """A domain goes before none, one without variables before one with, then the one with more text behind its last
    variable; a path without variables before one with, then the one with more text before its first variable; then the
    one registered first. Another method leads to the next one, and if there is none to a 405 with all that there are.
    """
    table = RouteTable()
    rules: list[tuple[Rule, tuple[str, ...]]] = []
    for text, methods in given_rules:
        try:
            rule = Rule(text)
            table.add(rule, Route(text, text, view), methods)
        except ValueError:  # none that is taken, or one that could never be found
            continue
        rules.append((rule, methods))
    for path, host in requests:
        candidates = search(rules, f"/{path}", host.removesuffix("."))
        for method in ("GET", "POST", "HEAD", "PUT", "DELETE"):
            found = table.find(f"/{path}", method, host)
            right = [
                candidate
                for candidate in candidates
                if method in candidate.methods or (method == "HEAD" and "GET" in candidate.methods)
            ]
            if right:
                assert isinstance(found, Match)
                assert (found.route.name, found.strings) == (right[0].text, right[0].strings)
            else:
                assert isinstance(found, Missing)
                assert set(found.allowed) == {name for candidate in candidates for name in candidate.methods}


@pytest.mark.parametrize("count", [0, 10])
@pytest.mark.parametrize(
    "rules, path, host, name",
    [
        # A domain before none, one without variables before one with.
        (["/x", "<a>.b.c/x", "a.b.c/x"], "/x", "a.b.c", "a.b.c/x"),
        (["/x", "<a>.b.c/<x>", "a.b.c/<x>"], "/x", "a.b.c", "a.b.c/<x>"),
        (["/x", "<a>.b.c/<x>", "a.b.c/<x>"], "/x", "b.b.c", "<a>.b.c/<x>"),
        (["/x", "<a>.b.c/<x>", "a.b.c/<x>"], "/x", "c", "/x"),
        (["/x", "a.b.c/y"], "/x", "a.b.c", "/x"),
        # More text behind the domain's last variable.
        (["<a>.<b>.c/x", "<a>.b.c/x"], "/x", "a.b.c", "<a>.b.c/x"),
        (["<a>.b.c/<x>", "<a>.<b>.c/x"], "/x", "a.b.c", "<a>.b.c/<x>"),
        (["aaaa<a>.c/x", "<a>.c/<x>"], "/x", "aaaaa.c", "aaaa<a>.c/x"),
        # A path without variables before one with, more text before the first variable, the one registered first.
        (["/<a>", "/x<a>", "/<path:p>", "/xy"], "/xy", "", "/xy"),
        (["/<a>", "/x<a>", "/<path:p>", "/xy"], "/xz", "", "/x<a>"),
        (["/<a>", "/x<a>", "/<path:p>", "/xy"], "/z", "", "/<a>"),
        (["/<path:p>", "/<a>", "/x<a>"], "/z", "", "/<path:p>"),
        (["/<a>/y", "/x/<b>"], "/x/y", "", "/x/<b>"),
        (["/x/<b>", "/x/<path:b>/<c>", "/x/y<path:b>"], "/x/y/z", "", "/x/y<path:b>"),
        (["/x/<path:b>", "/x/<b>/z", "/<a>/<b>/z"], "/x/y/z", "", "/x/<path:b>"),
        # Where a default ends the path, it is the rule's first text that counts all the same.
        (["/x/<a=1>", "/<path:p>"], "/x/", "", "/x/<a=1>"),
        (["/<a>/<b=1>", "/x/<c=2>"], "/x/", "", "/x/<c=2>"),
        (["/x<path:p=>", "/x"], "/x", "", "/x"),
    ],
)
def test_the_order(rules: list[str], path: str, host: str, name: str, count: int) -> None:
    """The same with few rules that begin in the same way, and with more, which do not match."""
    table = RouteTable()
    for i in range(count):
        others = [f"/<a>/other{i}", f"/x/<a>/other{i}", f"/x<a>.other{i}", f"<a>.other{i}/x"]
        for text in others:
            table.add(Rule(text), Route(text, text, view), ["GET"])
    for text in rules:
        table.add(Rule(text), Route(text, text, view), ["GET"])
    found = table.find(path, "GET", host)
    assert isinstance(found, Match)
    assert found.route.name == name


def test_the_path_of_a_domain_with_variables_counts_alone() -> None:
    """ "Of paths, a rule without variables goes before one with", whatever its domain is."""
    table = RouteTable()
    for text in ("<user>.a/x<path:p=>", "<user>.a/x"):
        table.add(Rule(text), Route(text, text, view), ["GET"])
    found = table.find("/x", "GET", "ada.a")
    assert isinstance(found, Match)
    assert found.route.name == "<user>.a/x"


def test_the_first_one_goes_first_for_each_method() -> None:
    """ "Then it is the one that was registered first": not one that came later, with the path of an earlier one."""
    table = RouteTable()
    for name, text, method in (("1", "/<a>", "GET"), ("2", "/<int:b>", "POST"), ("3", "/<a>", "POST")):
        table.add(Rule(text), Route(name, text, view), [method])
    found = table.find("/5", "POST")
    assert isinstance(found, Match)
    assert found.route.name == "2"


# --- What it costs ----------------------------------------------------------------------------------------------------


class Counted:
    """A table of routes that counts how many patterns are tried."""

    def __init__(self, rules: Sequence[str]) -> None:
        self.tried = 0
        self.table = RouteTable()
        for text in rules:
            rule = Rule(text)
            rule.forms = [form._replace(match=self._counted(form.match)) for form in rule.forms]
            if rule.domain is not None:
                rule.domain.match = self._counted(rule.domain.match)
            self.table.add(rule, Route(text, text, view), ["GET"])

    def _counted(self, match: Callable[[str], Strings | None]) -> Callable[[str], Strings | None]:
        def counted(text: str) -> Strings | None:
            self.tried += 1
            return match(text)

        return counted

    def cost(self, path: str, host: str) -> tuple[Any, ...]:
        """The route for a path, how many patterns were tried, and how many calls that took, those to C included."""
        calls = 0

        def note(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        self.tried = 0
        sys.setprofile(note)
        found = self.table.find(path, "GET", host)
        sys.setprofile(None)
        return found.route.name if isinstance(found, Match) else "", self.tried, calls


FAMILIES = [
    ("/x{}", "/x{}", ""),
    ("/x{}/", "/x{}/", ""),
    ("/x{}/<a>", "/x{}/a", ""),
    ("/x{}/<int:a>/edit", "/x{}/5/edit", ""),
    ("/a/b/x{}/<path:p=>", "/a/b/x{}/", ""),
    ("/<a>/x{}", "/a/x{}", ""),
    ("/<a>/x{}/<b>", "/a/x{}/b", ""),
    ("/<a>/<b>/x{}/<c=1>", "/a/b/x{}/", ""),
    ("/<name>.ext{}", "/a.b.ext{}", ""),
    ("/item{}-<id>", "/item{}-a", ""),
    ("/<a>/item{}-<id>/edit", "/a/item{}-a/edit", ""),
    ("/<int:a>-x{}/<b>", "/5-x{}/b", ""),
    ("/<any(de en):lang>/page{}/<slug>", "/de/page{}/a", ""),
    ("/<path:p>/x{}", "/a/b/c/x{}", ""),
    ("/a<path:p>.ext{}", "/a/b/c.ext{}", ""),
    ("site{}.example/<a>", "/a", "site{}.example"),
    ("<user>.site{}.example/", "/", "ada.site{}.example"),
    ("<user>.site{}.example/blog/<a>", "/blog/a", "ada.site{}.example"),
    ("x{}-<user>.example/", "/", "x{}-ada.example"),
]
# These are not told from one another by how their segments begin and end.
HARD = [
    ("/<path:p>/x{}/edit", "/a/b/x{}/edit", ""),
    ("/<path:p>/x{}/<int:id>", "/a/b/x{}/5", ""),
    ("/<path:p>/x{}/", "/a/b/x{}/", ""),
    ("/<letters:lang>/page{}/<slug>", "/ab/page{}/a", ""),
    ("/<regex('[a-z]+'):lang>/page{}/edit", "/ab/page{}/edit", ""),
    ("<a>.site{}.<b>.example/", "/", "ada.site{}.x.example"),
]


def compare(rule: str, path: str, host: str) -> None:
    """A match among 1,000 routes costs at most twice what it costs among ten, and tries no more of them."""
    costs = []
    for count in (10, 1000):
        counted = Counted([rule.format(i) for i in range(count)])
        first = counted.cost(path.format(0), host.format(0))
        last = counted.cost(path.format(count - 1), host.format(count - 1))
        none = counted.cost(path.format("y"), host.format("y"))
        assert (first[0], last[0], none[0]) == (rule.format(0), rule.format(count - 1), "")
        costs.append([max(found[i] for found in (first, last, none)) for i in (1, 2)])
    (tried_of_ten, calls_of_ten), (tried, calls) = costs
    assert tried <= tried_of_ten
    assert calls <= 2 * calls_of_ten


@pytest.mark.parametrize("rule, path, host", FAMILIES)
def test_a_thousand_routes_cost_what_ten_do(rule: str, path: str, host: str) -> None:
    compare(rule, path, host)


@pytest.mark.parametrize("rule, path, host", HARD)
def test_a_thousand_routes_that_differ_in_their_middle_cost_what_ten_do(rule: str, path: str, host: str) -> None:
    """Docstring of `PathTable`: not with the number of rules, but for those whose segments begin and end alike."""
    compare(rule, path, host)


def test_a_long_path_is_not_looked_up_endlessly() -> None:
    """It takes no more calls than the path has segments, a few for each."""
    counted = Counted([f"/<a>/x{i}" for i in range(20)] + [f"/x/<b>/y{i}/<c>" for i in range(20)] + ["/<path:p>/end"])
    name, tried, calls = counted.cost("/x" * 4000, "")
    assert name == ""
    assert tried <= 2
    assert calls < 4000 * 4


def test_a_thousand_routes_of_many_depths() -> None:
    """All that match a path have to be tried, but no others."""
    rules = ["/" + "/".join("x" if bits >> i & 1 else f"<v{i}>" for i in range(10)) for bits in range(1024)]
    counted = Counted(rules[:-1])
    name, tried, _ = counted.cost("/y/x/x/x/x/x/x/x/x/x", "")
    assert name == rules[0]  # the first of those whose text before the first variable is as long
    assert tried <= 1
    name, tried, _ = counted.cost("/x/x/x/x/y/y/y/y/y/y", "")
    assert name == "/x/x/x/x/<v4>/<v5>/<v6>/<v7>/<v8>/<v9>"
    assert tried <= 1
    name, tried, _ = counted.cost("/x/x/x/x/y/y/y/y/y", "")
    assert (name, tried) == ("", 0)
