"""Rules: the texts that say which paths a route answers (manual: "Routing")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pants.web._patterns import Matcher, Piece, Strings, Variable, compile_pattern
from pants.web.converters import Converter, find_converter

if TYPE_CHECKING:
    from pants.http import HTTPRequest

_VARIABLE: Final = re.compile(
    r"""< (?: (?P<converter> [^\W\d]\w* ) (?: \( (?P<options> (?: [^"'()<>] | "[^"]*" | '[^']*' )* ) \) )? \s* : \s* )?
        (?P<name> [^\W\d]\w* ) (?: = (?P<default> [^<>]* ) )? >""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile("%[0-9A-Fa-f]{2}")
# \1 or (?(1)...): the group will have another number in the expression for the rule.
_REFERENCE: Final = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[1-9]|\(\?\([0-9])")


class Rule:
    """A rule, understood.

    Args:
        text: A path that begins with a slash, with variables in it or without.

    Attributes:
        text: As it was given.
        pieces: The texts and the variables in it, in order.
        variables: The variables alone.
        begins: The text before the first variable; all of it where there is none.
        key: Equal for rules that match the same paths, for all that can be told.

    Raises:
        TypeError: It is not a str.
        ValueError: It is something else, and the message says what to do.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a rule is a str, not {text!r}; is it @app.route(...) without its parentheses?")
        if not text.startswith("/"):
            raise ValueError(f"a rule begins with a slash, and rules with a domain are not there yet: {text!r}")
        self.text = text
        try:
            self.pieces = _split(text)
            self.variables = [piece for piece in self.pieces if isinstance(piece, Variable)]
            _check(self.pieces)
            self.patterns = self._compile()
        except ValueError as error:
            raise ValueError(f"the rule {text!r}: {error}") from None
        self.begins = str(self.pieces[0])
        self.key = tuple(
            piece if isinstance(piece, str) else (piece.source, piece.default is not None) for piece in self.pieces
        )
        self._stays_text = all(
            type(variable.converter).decode is Converter.decode and variable.groups == 1 for variable in self.variables
        )

    def _compile(self) -> list[Matcher]:
        """One pattern for the whole rule, and one for what is left if a variable with a default ends it."""
        if not self.variables:
            return []
        patterns = [compile_pattern(self.pieces)]
        for i, piece in enumerate(self.pieces):
            if isinstance(piece, Variable) and piece.default is not None:
                patterns.append(compile_pattern(self.pieces[:i]))
        return patterns

    def match(self, text: str) -> Strings | None:
        """Return what is captured in a path, fewer strings where it ends before a default; None if it does not match.

        Args:
            text: The path, percent-decoded.
        """
        for pattern in self.patterns:
            strings = pattern(text)
            if strings is not None:
                return strings
        return None

    def decode(self, request: HTTPRequest, strings: Strings) -> Sequence[Any]:
        """Make the values of the variables, by their converters, or by their defaults.

        Args:
            request: The request.
            strings: What `match` has returned.

        Raises:
            Exception: Whatever a converter raises.
        """
        if self._stays_text and len(strings) == len(self.variables):
            return strings
        values = []
        at = 0
        for variable in self.variables:
            taken = strings[at : at + variable.groups]
            at += variable.groups
            if not taken:
                assert variable.default is not None
                taken = variable.default
            values.append(variable.converter.decode(request, *taken))
        return values


def _split(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    while at < len(text):
        if text[at] == "<":
            found = _VARIABLE.match(text, at)
            if found is None:
                raise ValueError(
                    f"what begins with {text[at : at + 20]!r} is no variable; write <name>, <name=default>, "
                    "<converter:name> or <converter(options):name>, names of letters, digits and underscores, and in "
                    "quotation marks what contains parentheses, < or >"
                )
            pieces.append(_variable(found))
            at = found.end()
        else:
            end = text.find("<", at)
            end = len(text) if end < 0 else end
            pieces.append(text[at:end])
            at = end
    return pieces


def _variable(found: re.Match[str]) -> Variable:
    default = found["default"]
    try:
        converter = find_converter(found["converter"] or "string")(found["options"], default)
        source, groups = _source(converter)
        converter._check_default()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{found[0]}: {error}") from None
    strings: Strings | None = None
    if default is not None:
        whole = re.fullmatch(source, default) if groups > 1 else None
        strings = (default,) if whole is None else whole.groups()
    return Variable(found["name"], converter, source, groups, strings)


def _source(converter: Converter) -> tuple[str, int]:
    """Return a converter's regular expression as a part for a longer one, and the number of its groups."""
    regex = getattr(converter, "regex", None)
    if not isinstance(regex, str):
        raise TypeError(f"{type(converter).__name__} has no regex, a str, after configure()")
    if _REFERENCE.search(regex):
        raise ValueError(f"refer to a group by its name, as in (?P=name), for its number will change: {regex!r}")
    try:
        groups = re.compile(regex).groups
        source = f"(?:{regex})" if groups else f"({regex})"
        re.compile(source)
    except (re.error, OverflowError) as error:
        raise ValueError(f"{regex!r} is no regular expression that can be a part of another: {error}") from None
    return source, groups or 1


def _check(pieces: Sequence[Piece]) -> None:
    """Raise ValueError unless the pieces make a rule together."""
    names: set[str] = set()
    with_default = None
    for piece in pieces:
        if isinstance(piece, str):
            if ">" in piece:
                raise ValueError("there is a > that ends no variable; it cannot stand in a path")
            if "?" in piece or "#" in piece:
                raise ValueError("a rule is a path, without query and fragment")
            if len(pieces) > 1 and (escape := _ESCAPE.search(piece)):
                raise ValueError(f"paths are decoded before they are compared; write the character for {escape[0]}")
            continue
        if piece.name in names:
            raise ValueError(f"two variables are named {piece.name!r}; rename one")
        names.add(piece.name)
        if piece.default is not None:
            with_default = piece.name
        elif with_default is not None:
            raise ValueError(
                f"<{piece.name}> needs a default too, since the path may end where <{with_default}> has one"
            )
