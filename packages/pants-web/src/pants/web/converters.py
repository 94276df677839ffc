r"""Converters: what the variables of a rule match, and what becomes of it (manual: "Rule Variable Converters").

Nothing in here knows of a connection: strings in, values out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, overload

if TYPE_CHECKING:
    from pants.http import HTTPRequest

__all__ = ["Converter", "register_converter"]

C = TypeVar("C", bound="type[Converter]")

_OPTION: Final = re.compile(
    r"""\s* (?: (?P<key> [^\W\d]\w* ) = )?
        (?: "(?P<double> [^"]* )" | '(?P<single> [^']* )' | (?P<bare> [^\s"'()<>]+ ) ) (?= \s | \Z )""",
    re.VERBOSE,
)
_INT: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "none": None}


class Converter:
    r"""What a variable of a rule matches, what the function is given of it, and how it gets into URLs.

    A subclass sets `regex`, and is registered by `register_converter` (manual: "Writing a Variable Converter"). It is
    created once for each variable that names it, by the rule.

    Args:
        options: The options in the rule, as they stand between the parentheses; None or empty where there are none.
        default: The default value in the rule, None where there is none.

    Raises:
        TypeError: It does not take these options.
        ValueError: The options are malformed, or one of them has a value that does not serve.

    Example:
        >>> from pants.web import Application, Converter, register_converter
        >>> @register_converter
        ... class Telephone(Converter):
        ...     regex = r"([0-9]{3})-([0-9]{4})"
        ...
        ...     def decode(self, request, *values):
        ...         return int("".join(values))
        >>> app = Application()
        >>> @app.route("/call/<telephone:number>")
        ... def call(request, number):
        ...     return f"Calling {number}"
    """

    #: A regular expression for what the variable matches. If it has groups, they are what is captured, else all of it.
    regex: str

    #: The default value in the rule: what `decode` is given where the URL ends before the variable. None without one.
    default: str | None

    # Whether `configure` is given numbers, true, false and none as such.
    _typed = True

    def __init__(self, options: str | None, default: str | None) -> None:
        self.default = default
        args, kwargs = read_options(options or "", self._typed)
        self.configure(*args, **kwargs)

    def configure(self, *args: Any, **kwargs: Any) -> None:
        """Take the options in the rule; to be overridden where there are any (manual: "configure").

        A subclass may build its `regex` here.

        Args:
            *args: The options by order: str, int, float, bool or None.
            **kwargs: The options by key.

        Raises:
            TypeError: There are options, and this has not been overridden.
        """
        if args or kwargs:
            raise TypeError("it takes no options")

    def decode(self, request: HTTPRequest, *values: Any) -> Any:
        """Make what the function is given of what was captured; to be overridden (manual: "decode").

        An exception in here is a 400 for the client.

        Args:
            request: The request.
            *values: What each group of `regex` has captured, percent-decoded; None for one that took no part. Where the
                default is used and does not match a `regex` with several groups, the default alone.

        Returns:
            The value; unless overridden the string itself, or a tuple of them where there are several.
        """
        return values[0] if len(values) == 1 else values

    def encode(self, request: HTTPRequest, value: Any) -> str:
        """Make a string for a URL, which `decode` would make ``value`` of; to be overridden (manual: "encode").

        Args:
            request: The current request.
            value: What the function would be given.

        Returns:
            The string, in plain characters; unless overridden ``str(value)``.
        """
        return str(value)

    def _check_default(self) -> None:
        """Raise ValueError if the default could not be decoded, ever."""


def read_options(text: str, typed: bool = True) -> tuple[list[Any], dict[str, Any]]:
    """Read the options of a converter (manual: "Rule Variable Converters").

    Args:
        text: Values with spaces between them, each with ``key=`` before it or not. In quotation marks, double or
            single, a value may contain spaces and the other marks; nothing is escaped there.
        typed: Whether values without quotation marks that are numbers become such, and ``true``, ``false`` and ``none``
            (in any case) what they are in Python.

    Returns:
        The values by order, and those by key.

    Raises:
        ValueError: The text is something else.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    text = text.rstrip()
    at = 0
    while at < len(text):
        option = _OPTION.match(text, at)
        if option is None:
            raise ValueError(
                f"options are values with spaces between them, not {text[at:].lstrip()!r}; what contains spaces, "
                "parentheses, <, > or quotation marks goes in quotation marks (of the other kind)"
            )
        at = option.end()
        bare = option["bare"]
        if bare is not None and bare.endswith(","):
            raise ValueError(f"options have spaces between them, not commas: {text!r}; else put it in quotation marks")
        value: Any = (option["double"] or option["single"] or "") if bare is None else bare
        if typed and bare is not None:
            value = _typed_value(bare)
        if option["key"] is None:
            args.append(value)
        elif option["key"] in kwargs:
            raise ValueError(f"the option {option['key']} is there twice")
        else:
            kwargs[option["key"]] = value
    return args, kwargs


def _typed_value(text: str) -> str | int | float | bool | None:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


# --- Pants' own -------------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """A number of characters, none of which is excluded."""

    excluded: str
    least: int = 1
    most: int | None = None

    @property
    def regex(self) -> str:
        """The regular expression for it."""
        character = f"[^{re.escape(self.excluded)}]" if self.excluded else "(?s:.)"
        if self.least == 1 and self.most is None:
            return f"{character}+"
        return f"{character}{{{self.least},{'' if self.most is None else self.most}}}"


class SpanConverter(Converter):
    """One that matches any characters but a few."""

    excluded = "/"
    span: Span

    def configure(self, *args: Any, **kwargs: Any) -> None:
        """Take no options."""
        super().configure(*args, **kwargs)
        self._set_span(Span(self.excluded))

    def _set_span(self, span: Span) -> None:
        self.span = span
        self.regex = span.regex


class StringConverter(SpanConverter):
    """Characters other than a slash (manual: "String")."""

    def configure(self, min: Any = None, max: Any = None, length: Any = None) -> None:  # noqa: A002 - the manual's names
        """Take the least and the most characters to match, or both at once."""
        least = 1 if min is None else check_count("min", min, 0)
        most = None if max is None else check_count("max", max, 1)
        if length is not None:  # overrides the two, says the manual
            least = most = check_count("length", length, 1)
        check_order(least, most)
        self._set_span(Span(self.excluded, least, most))


class DomainPartConverter(StringConverter):
    """Characters other than a slash and a period (manual: "DomainPart")."""

    excluded = "./"


class PathConverter(SpanConverter):
    """Any characters at all (manual: "Path")."""

    excluded = ""


class NumberConverter(Converter):
    """What the two kinds of numbers share."""

    kind: Callable[[str], float]
    _least: float | None = None
    _most: float | None = None

    def _set_range(self, least: Any, most: Any) -> None:
        self._least = None if least is None else check_number("min", least)
        self._most = None if most is None else check_number("max", most)
        check_order(self._least, self._most)

    def decode(self, request: HTTPRequest, *values: Any) -> Any:
        """Make a number of a string.

        Raises:
            ValueError: It is out of the range that the rule gives, or of what Python takes.
        """
        return self._number(values[0])

    def _number(self, text: str) -> float:
        number = self.kind(text)
        if math.isinf(number):
            raise ValueError("the number is too large for a float")
        if self._least is not None and number < self._least:
            raise ValueError(f"the number is below {self._least}")
        if self._most is not None and number > self._most:
            raise ValueError(f"the number is above {self._most}")
        return number

    def _check_default(self) -> None:
        if self.default is not None:
            if not re.fullmatch(self.regex, self.default):
                raise ValueError(f"the default {self.default!r} is none that it would match")
            self._number(self.default)


class IntegerConverter(NumberConverter):
    """A negation perhaps, and digits (manual: "Integer")."""

    kind = int
    _digits: int | None = None

    def configure(self, digits: Any = None, min: Any = None, max: Any = None) -> None:  # noqa: A002 - the manual's names
        """Take the exact number of digits, and the range of values."""
        self._digits = None if digits is None else check_count("digits", digits, 1)
        self.regex = "-?[0-9]+" if digits is None else f"-?[0-9]{{{digits}}}"
        self._set_range(min, max)

    def encode(self, request: HTTPRequest, value: Any) -> str:
        """Make the digits of a number, as many as the rule wants.

        Raises:
            TypeError, ValueError: It is no number.
        """
        number = int(value)
        if isinstance(value, float) and value != number:
            raise ValueError(f"an int is a whole number, unlike {value!r}")
        return f"{'-' if number < 0 else ''}{str(abs(number)).zfill(self._digits or 1)}"


class FloatConverter(NumberConverter):
    """A negation perhaps, digits, and a period among them perhaps (manual: "Float")."""

    kind = float
    # A period stands before a digit, so that what follows in the rule may begin with one: /<float:x>.json
    regex = r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"

    def configure(self, min: Any = None, max: Any = None) -> None:  # noqa: A002 - the manual's names
        """Take the range of values."""
        self._set_range(min, max)

    def encode(self, request: HTTPRequest, value: Any) -> str:
        """Make digits of a number, without an exponent.

        Raises:
            TypeError, ValueError: It is no number, or not a finite one.
        """
        return format(Decimal(value if isinstance(value, int) else repr(float(value))), "f")


class AnyConverter(Converter):
    """One of some strings (manual: "Any")."""

    _typed = False  # or 007 were 7, and none no string
    strings: tuple[str, ...]

    def configure(self, *strings: str) -> None:
        """Take the strings."""
        if not strings:
            raise ValueError("it needs the strings to choose from, as in any(call text im)")
        self.strings = strings
        self.regex = "|".join(map(re.escape, strings))


class RegexConverter(Converter):
    """What a regular expression matches (manual: "Regex")."""

    namegen: str | None = None

    def configure(self, match: Any, namegen: Any = None) -> None:
        """Take the expression, and how a URL is made of a value: a format for ``%``."""
        for name, value in (("match", match), ("namegen", namegen)):
            if not isinstance(value, str) and (name == "match" or value is not None):
                raise TypeError(f"{name} is a string, not {value!r}; put it in quotation marks")
        self.regex = match
        self.namegen = namegen

    def encode(self, request: HTTPRequest, value: Any) -> str:
        """Make a string of a value, a tuple of as many as the format takes, or anything without a format."""
        return super().encode(request, value) if self.namegen is None else self.namegen % value


def check_count(name: str, value: Any, least: int) -> int:
    """Return an option that is a number of characters, or raise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} is {least} or more, not {value}")
    return value


def check_number(name: str, value: Any) -> float:
    """Return an option that is a number, or raise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number, not {value!r}")
    return value


def check_order(least: float | None, most: float | None) -> None:
    """Raise ValueError if nothing lies between two bounds."""
    if least is not None and most is not None and least > most:
        raise ValueError(f"min {least} is more than max {most}")


# --- Their names ------------------------------------------------------------------------------------------------------

_OWN: Final[dict[str, type[Converter]]] = {
    "any": AnyConverter,
    "domainpart": DomainPartConverter,
    "float": FloatConverter,
    "int": IntegerConverter,
    "integer": IntegerConverter,
    "path": PathConverter,
    "regex": RegexConverter,
    "string": StringConverter,
}
_registered: dict[str, type[Converter]] = dict(_OWN)


def find_converter(name: str) -> type[Converter]:
    """Return the class that has been registered by a name, in any case.

    Raises:
        ValueError: There is none.
    """
    try:
        return _registered[name.lower()]
    except KeyError:
        known = ", ".join(sorted(_registered))
        raise ValueError(f"there is no converter {name!r}, register_converter() makes one; there are {known}") from None


@overload
def register_converter(name: C) -> C: ...


@overload
def register_converter(name: str | None = None, klass: None = None) -> Callable[[C], C]: ...


@overload
def register_converter(name: str | None, klass: C) -> C: ...


@overload
def register_converter(*, klass: C) -> C: ...


def register_converter(name: Any = None, klass: Any = None) -> Any:
    """Let rules use a converter by a name (manual: "register_converter").

    It is a decorator, with or without parentheses. A name that has been registered before means the new class in the
    rules to come.

    Args:
        name: The name, which rules may write in any case; that of the class by default.
        klass: The class, where this is not used as a decorator.

    Returns:
        The class; or a decorator that returns it, if no class is given.

    Raises:
        TypeError: The class is no `Converter`, or the name no str.
        ValueError: The name cannot stand in a rule, or belongs to one of Pants' own converters.
    """
    if isinstance(name, type):
        name, klass = None, name
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a converter is a str, not {name!r}")

    def register(converter: C) -> C:
        if not isinstance(converter, type) or not issubclass(converter, Converter):
            raise TypeError(f"a converter is a subclass of pants.web.Converter, not {converter!r}")
        known_as = (converter.__name__ if name is None else name).lower()
        if not known_as.isidentifier():
            raise ValueError(f"a converter's name has letters, digits and underscores, unlike {known_as!r}")
        if known_as in _OWN:
            raise ValueError(f"{known_as!r} is one of Pants' own converters; register yours by another name")
        _registered[known_as] = converter
        return converter

    return register if klass is None else register(klass)
