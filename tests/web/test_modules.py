"""Modules in modules and in applications (manual: "Module", "add"); on a server in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pants.http import HTTPRequest
from pants.web import Application, Module, application, url_for
from tests.web.support import ask


def shown(request: HTTPRequest, *values: Any) -> str:
    """A view: the name of its route and the values, as JSON."""
    return json.dumps([request.route_name, *values])


def other(request: HTTPRequest, *values: Any) -> str:
    """Another view."""
    return "other"


def found(app: Application, target: str, method: str = "GET") -> Any:
    """What the view has been given, behind the name of its route; the status, if that is not 200."""
    answer: Any = ask(app, target, method)
    if answer.status != 200:
        return answer.status
    return answer.content.decode() if answer.content == b"other" else json.loads(answer.content)


def names_of(app: Application) -> set[str]:
    """The names of all routes."""
    return set(app._routes) | set(app._rules)


def module_of(*rules: str, name: str | None = None) -> Module:
    """A module with routes, named "a", "b", ..."""
    module = Module(name)
    for letter, rule in zip("abcdefgh", rules, strict=False):
        module.route(rule, letter, func=shown)
    return module


def test_the_example() -> None:
    """Manual, "add": all rules within the sub-module will be accessible to this Module, prefixed by the rule."""
    module_one = Module()

    @module_one.route("/fish")
    def fish(request: HTTPRequest) -> str:
        return "This is fish."

    module_two = Module()
    module_two.add("/pie", module_one)

    app = Application()
    app.add("/", module_two)
    assert ask(app, "/pie/fish").content == b"This is fish."  # type: ignore[attr-defined]
    assert found(app, "/fish") == 404


def test_a_module_knows_no_application() -> None:
    """Manual: rules can be created without any access to the final Application; a Module is a group of rules for one,
    and an Application "builds upon the Module class".
    """
    assert application.Module is Module
    assert issubclass(Application, Module)
    assert not callable(Module())


# --- Where rules are found --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix, rule, target, values",
    [
        ("/", "/", "/", []),
        ("/", "/x", "/x", []),
        ("/p", "/", "/p/", []),
        ("/p", "/x", "/p/x", []),
        ("/p/", "/x", "/p/x", []),
        ("/p/", "/", "/p/", []),
        ("/p/q", "/x/", "/p/q/x/", []),
        ("/p", "/x/<a>", "/p/x/1", ["1"]),
        ("/<p>", "/x/<a>", "/1/x/2", ["1", "2"]),
        ("/<p>/", "/<a>", "/1/2", ["1", "2"]),
        ("/<int:p>/<q>", "/<int:a>", "/1/2/3", [1, "2", 3]),
        ("/<path:p>", "/x", "/1/2/x", ["1/2"]),
        ("/<any(de en):p>", "/<a=index>", "/de/", ["de", "index"]),
        ("/p-<p>", "/x", "/p-1/x", ["1"]),
        ("/über mut", "/x", "/%C3%BCber%20mut/x", []),
        ("a.example/", "/x", "http://a.example/x", []),
        ("a.example/p", "/x", "http://a.example/p/x", []),
        ("<p>.example/", "/<a>", "http://1.example/2", ["1", "2"]),
        ("<p>.example/<q>", "/<a>", "http://1.example/2/3", ["1", "2", "3"]),
        ("/p", "a.example/x", "http://a.example/p/x", []),
        ("/p/", "<a>.example/<b>", "http://1.example/p/2", ["1", "2"]),
    ],
)
def test_a_rule_and_its_prefix(prefix: str, rule: str, target: str, values: list[Any]) -> None:
    """Docstring: a slash at the end of the prefix counts for nothing; its values come before those of the module."""
    for early in (True, False):
        app = Application()
        module = Module()
        if early:
            module.route(rule, "name", func=shown)
        app.add(prefix, module)
        if not early:
            module.route(rule, "name", func=shown)
        assert found(app, target) == ["name", *values]


def test_the_values_come_in_the_order_of_the_url() -> None:
    """Docstring of `add`: in the order in which the variables stand in the URL."""
    app = Application()
    app.add("/<lang>", module_of("<user>.example/<page>"))
    assert found(app, "http://ada.example/de/x") == ["a", "ada", "de", "x"]


def test_a_prefix_alone_is_no_route() -> None:
    app = Application()
    app.add("/p", module_of("/", "/x"))
    assert found(app, "/p") == 404
    assert found(app, "/p/") == ["a"]
    assert found(app, "/px") == 404
    assert found(app, "/p//x") == 404


def test_nested() -> None:
    """Modules in modules, whatever is added first."""
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)):
        app, one, two, three = Application("app"), Module("one"), Module(), Module("three")
        steps = [
            lambda app=app, one=one: app.add("/<p>", one),
            lambda one=one, two=two: one.add("/q/", two),
            lambda two=two, three=three: two.add("/<int:r>", three),
        ]
        for i in order:
            steps[i]()
        for number, module in enumerate((three, two, one, app)):
            module.route(f"/x{number}/<a>", "name", func=shown)
        assert found(app, "/1/q/2/x0/3") == ["one.three.name", "1", 2, "3"]
        assert found(app, "/1/q/x1/3") == ["one.name", "1", "3"]
        assert found(app, "/1/x2/3") == ["one.name", "1", "3"]
        assert found(app, "/x3/3") == ["name", "3"]


def test_a_domain_in_the_middle() -> None:
    app, outer = Application(), Module()
    outer.add("<user>.example/q", module_of("/<a>"))
    app.add("/p", outer)
    assert found(app, "http://ada.example/p/q/x") == ["a", "ada", "x"]
    assert found(app, "http://example/p/q/x") == 404


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outer, inner, name",
    [
        (None, None, "a"),
        ("one", None, "one.a"),
        (None, "two", "two.a"),
        ("one", "two", "one.two.a"),
        ("one.half", "two", "one.half.two.a"),
    ],
)
def test_names(outer: str | None, inner: str | None, name: str) -> None:
    """Docstrings: a name stands before those of its routes, with a period between; that of the application does not."""
    app = Application("app")
    module = Module(outer)
    module.add("/q", module_of("/x", name=inner))
    app.add("/p", module)
    assert found(app, "/p/q/x") == [name]
    assert names_of(app) == {name}


def test_an_application_in_an_application() -> None:
    """Docstring of `Application`: its name does not stand before those of its routes, unless it is added to another."""
    inner, named, outer = Application(), Application("named"), Application("outer")
    for app in (inner, named):
        app.route("/<x>", "name", func=shown)
    outer.add("/inner", inner)
    outer.add("/named", named)
    assert found(outer, "/inner/1") == ["name", "1"]
    assert found(outer, "/named/1") == ["named.name", "1"]
    # Each can still be served by itself.
    assert found(named, "/1") == ["name", "1"]
    assert found(named, "/named/1") == 404
    with pytest.raises(ValueError, match="would be in itself"):
        named.add("/outer", outer)


def test_urls_in_an_application_in_an_application() -> None:
    """The one that is served counts, for the names and for the paths."""
    inner, outer = Application("inner"), Application()

    @inner.route("/here")
    def here(request: HTTPRequest) -> str:
        return json.dumps([url_for(".there"), url_for(str(request.route_name))])

    inner.route("/there", "there", func=shown)
    outer.add("/in", inner)
    assert found(inner, "/here") == ["/there", "/here"]
    assert found(outer, "/in/here") == ["/in/there", "/in/here"]


# --- The same module several times ------------------------------------------------------------------------------------


def test_the_same_module_twice() -> None:
    """DESIGN §3: the same name twice is refused only for different functions."""
    app = Application()
    module = module_of("/x")
    app.add("/p", module)
    app.add("/<q>", module)
    assert found(app, "/p/x") == ["a"]
    assert found(app, "/r/x") == ["a", "r"]
    module.route("/y", "b", func=shown)
    assert found(app, "/p/y") == ["b"]
    assert found(app, "/r/y") == ["b", "r"]


def test_hooks_of_a_module_that_is_there_twice_run_once() -> None:
    app = Application()
    module = module_of("/x")
    app.add("/p", module)
    app.add("/q", module)
    seen: list[str] = []
    module.request_started(lambda request: seen.append("started"))
    module.request_finished(lambda request, output: seen.append("finished") or output)  # type: ignore[func-returns-value]
    module.request_teardown(lambda request: seen.append("teardown"))
    assert found(app, "/q/x") == ["a"]
    assert seen == ["started", "finished", "teardown"]


def test_a_diamond() -> None:
    """A module in two modules, both of which are in a third."""
    app, left, right, bottom = Application(), Module("left"), Module("right"), module_of("/x", name="bottom")
    left.add("/b", bottom)
    app.add("/l", left)
    app.add("/r", right)
    right.add("/b", bottom)
    bottom.route("/y", "b", func=shown)
    assert found(app, "/l/b/x") == ["left.bottom.a"]
    assert found(app, "/r/b/x") == ["right.bottom.a"]
    assert found(app, "/l/b/y") == ["left.bottom.b"]
    assert found(app, "/r/b/y") == ["right.bottom.b"]


def test_hooks_of_a_diamond_are_those_on_the_way() -> None:
    app, left, right, bottom = Application(), Module("left"), Module("right"), module_of("/x")
    seen: list[str] = []
    for name, module in (("app", app), ("left", left), ("right", right), ("bottom", bottom)):
        module.request_started(lambda request, name=name: seen.append(name))
    left.add("/b", bottom)
    right.add("/b", bottom)
    app.add("/l", left)
    app.add("/r", right)
    assert found(app, "/r/b/x") == ["right.a"]
    assert seen == ["app", "right", "bottom"]
    seen.clear()
    assert found(app, "/l/b/x") == ["left.a"]
    assert seen == ["app", "left", "bottom"]


def test_two_applications_share_a_module() -> None:
    one, two, module = Application(), Application(), module_of("/x")
    one.add("/1", module)
    two.add("/2", module)
    module.route("/y", "b", func=shown)
    assert [found(one, "/1/y"), found(one, "/2/y"), found(two, "/2/y"), found(two, "/1/y")] == [["b"], 404, ["b"], 404]
    assert found(one, "/1/x") == found(two, "/2/x") == ["a"]


# --- Mistakes ---------------------------------------------------------------------------------------------------------


def test_cycles_are_refused() -> None:
    one, two, three = Module("one"), Module("two"), Module("three")
    one.add("/2", two)
    two.add("/3", three)
    for outer, inner in ((one, one), (two, one), (three, one), (three, two), (three, three)):
        with pytest.raises(ValueError, match=r"cannot be added to .*, for it would be in itself"):
            outer.add("/x", inner)
    three.route("/y", "name", func=shown)  # which would not end, if there were one
    app = Application()
    app.add("/", one)
    assert found(app, "/2/3/y") == ["one.two.three.name"]
    assert names_of(app) == {"one.two.three.name"}


@pytest.mark.parametrize("thing", [None, "module", shown, Module, lambda request: "x"])
def test_only_modules_can_be_added(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"a pants\.web\.Module can be added, not"):
        Application().add("/x", thing)


@pytest.mark.parametrize("rule", ["", "x", "example.com", "/<a", "/<nope:a>", "/<a>/<a>", "/a?b", "a b/"])
def test_a_prefix_is_a_rule(rule: str) -> None:
    app, module = Application(), module_of("/x")
    with pytest.raises(ValueError, match="the rule "):
        app.add(rule, module)
    assert names_of(app) == set()
    module.route("/y", "b", func=shown)
    assert names_of(app) == set()


def test_a_prefix_is_a_str() -> None:
    with pytest.raises(TypeError, match="a rule is a str, not"):
        Application().add(module_of("/x"), "/x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", ".a", "a.", "."])
def test_a_name_that_cannot_be_found_raises(name: str) -> None:
    with pytest.raises(ValueError, match="not empty, and has no period at its ends"):
        Module(name)
    if name:
        with pytest.raises(ValueError, match="not empty, and has no period at its ends"):
            Application().route("/", name, func=shown)


@pytest.mark.parametrize("name", [5, b"a", ("a",), True])
def test_a_name_is_a_str(name: Any) -> None:
    with pytest.raises(TypeError, match="is a str, not"):
        Module(name)
    with pytest.raises(TypeError, match="is a str, not"):
        Application().route("/", name, func=shown)


@pytest.mark.parametrize(
    "rules, prefix, pattern",
    [
        # a route for the same paths, in the application or in a module in it
        (["/x", "/y", "/taken"], "/p", "/p/taken has a route for GET already, named 'taken'"),
        (["/x", "/y", "/in/taken"], "/p", "/p/in/taken has a route for GET already, named 'inner.taken'"),
        (["/x", "/y", "/var/<b>"], "/p", "/p/var/<b> has a route for GET already, named 'var'"),
        # the prefix and the rule do not go together
        (["/x", "/y", "a.example/z"], "b.example/", "has a domain, and so has 'b.example/'"),
        (["/x", "/y/<q>", "/z/<p>"], "/<p>", "two variables are named 'p'; rename one"),
        (["/x", "/y", "/<z>"], "/<p=1>", "<z> needs a default too"),
    ],
)
def test_adding_fails_as_a_whole(rules: list[str], prefix: str, pattern: str) -> None:
    """Nothing is registered anywhere, and the module can be added under another rule."""
    app, middle, inner = Application(), Module("middle"), Module("inner")
    app.route("/p/taken", "taken", func=other)
    app.route("/p/var/<a>", "var", func=other)
    inner.route("/taken", "taken", func=other)
    app.add("/p/in", inner)
    known = names_of(app)
    app.add("/", middle)
    module = module_of(*rules)
    seen: list[str] = []
    module.request_started(lambda request: seen.append("started"))
    module.after(lambda request, head: seen.append("after"))
    with pytest.raises(ValueError, match=pattern):
        middle.add(prefix, module)
    assert names_of(app) == known
    assert found(app, "/p/x") == found(app, "/p/y") == 404
    assert found(app, "/p/taken") == found(app, "/p/in/taken") == found(app, "/p/var/1") == "other"
    # It has no part in the application: neither have its hooks, nor what is registered in it later.
    module.route("/later", "later", func=shown)
    assert names_of(app) == known
    assert found(app, "/p/later") == 404
    assert seen == []
    # Had the module been added in part, this would raise, for its names.
    middle.add("/elsewhere", module)
    assert found(app, "/elsewhere/x") == ["middle.a"]
    assert found(app, "/elsewhere/later") == ["middle.later"]


def test_a_name_of_another_function_fails_as_a_whole() -> None:
    app = Application()
    app.route("/", "b", func=other)
    module = module_of("/x", "/y")
    with pytest.raises(ValueError, match="the name 'b' has been given to another function"):
        app.add("/p", module)
    assert names_of(app) == {"b"}
    assert found(app, "/p/x") == 404
    assert found(app, "/") == "other"


def test_a_late_route_fails_as_a_whole() -> None:
    """One that is registered in a module, after that was added, and is taken in one of those around it."""
    app, middle, module = Application(), Module("middle"), Module()
    app.route("/p/q/x", "taken", func=other)
    app.add("/p", middle)
    middle.add("/q", module)
    with pytest.raises(ValueError, match="/p/q/x has a route for GET already, named 'taken'"):
        module.route("/x", "name", func=shown)
    assert names_of(app) == {"taken"}
    # Had it been registered in the module, or in the middle, this would raise.
    module.route("/y", "name", func=other)
    assert found(app, "/p/q/y") == "other"
    elsewhere = Application()
    elsewhere.add("/", middle)
    assert names_of(elsewhere) == {"middle.name"}
    assert found(elsewhere, "/q/x") == 404


def test_a_late_route_that_is_in_its_own_way_fails_as_a_whole() -> None:
    """Two ways lead from the application to one module, by the same rules but with other names."""
    app, one, two, module = Application(), Module("one"), Module("two"), Module()
    one.add("/y", module)
    two.add("/y", module)
    app.add("/x", one)
    app.add("/x", two)
    with pytest.raises(ValueError, match="two routes for GET"):
        module.route("/z", "name", func=shown)
    assert found(app, "/x/y/z") == 404
    assert names_of(app) == set()


def test_a_decorator_that_fails_registers_nothing() -> None:
    app = Application()
    app.route("/", "name", func=other)
    for rule, name in (("/", "else"), ("/x", "name"), ("/x", None)):
        with pytest.raises((ValueError, TypeError)):
            app.route(rule, name)(None if name is None else shown)  # type: ignore[type-var]
    assert names_of(app) == {"name"}
    assert found(app, "/x") == 404
