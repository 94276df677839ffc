"""Rules: the texts that say which domains and paths a route answers (manual: "Routing", "Domains")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pants.web._patterns import Matcher, Piece, Strings, Variable, compile_pattern
from pants.web.converters import AnyConverter, Converter, find_converter

if TYPE_CHECKING:
    from pants.http import HTTPRequest

_VARIABLE: Final = re.compile(
    r"""< (?: (?P<converter> [^\W\d]\w* ) (?: \( (?P<options> (?: [^"'()<>] | "[^"]*" | '[^']*' )* ) \) )? \s* : \s* )?
        (?P<name> [^\W\d]\w* ) (?: = (?P<default> [^<>]* ) )? >""",
    re.VERBOSE,
)
# The arguments of url_for().
_RESERVED: Final = frozenset({"_anchor", "_doseq", "_external", "_request", "_scheme"})
_SLASH_OR_VARIABLE: Final = re.compile("[/<]")
_DOMAIN_TEXT: Final = re.compile(r"[A-Za-z0-9._-]+")
#: Segments that clients take out of what they ask for (RFC 3986 §5.2.4), so that no route has them.
DOT_SEGMENT: Final = re.compile(r"/\.\.?(?:/|\Z)")
_ESCAPE: Final = re.compile("%[0-9A-Fa-f]{2}")
# \1 or (?(1)...): the group will have another number in the expression for the rule.
_REFERENCE: Final = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[1-9]|\(\?\([0-9])")


class Form(NamedTuple):
    """One form of a rule: the whole, or what is left of it where a variable with a default ends the path."""

    pieces: Sequence[Piece]
    match: Matcher


class Domain:
    """The domain of a rule.

    Args:
        pieces: The texts and the variables in it.

    Attributes:
        pieces: The same, in lower case.
        text: The domain, if it has no variables.
        key: Equal for domains that match the same hosts, for all that can be told.
        match: Matches a host.

    Raises:
        ValueError: It is none.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, str):
                _check_domain_text(piece)
            elif piece.default is not None:
                raise ValueError(f"<{piece.name}> cannot have a default in a domain; register a second rule without it")
            elif isinstance(piece.converter, AnyConverter) and piece.source != piece.source.lower():
                raise ValueError(f"<{piece.name}> would never match: hosts are compared in lower case")
        self.pieces = [piece.lower() if isinstance(piece, str) else piece for piece in pieces]
        if isinstance(self.pieces[-1], str):  # as hosts are compared
            self.pieces[-1] = self.pieces[-1].removesuffix(".")
        self.key = _key(self.pieces)
        self.is_fixed = all(isinstance(piece, str) for piece in pieces)
        self.text = "".join([piece for piece in self.pieces if isinstance(piece, str)]) if self.is_fixed else ""
        self.match = compile_pattern(self.pieces)

    @property
    def ends(self) -> str:
        """The text behind its last variable."""
        return self.pieces[-1] if isinstance(self.pieces[-1], str) else ""


class Rule:
    """A rule, understood.

    Args:
        text: A path that begins with a slash, or a domain and such a path, with variables in it or without.

    Attributes:
        text: As it was given.
        domain: The domain; None where there is none.
        pieces: The texts and the variables of the path, in order.
        path: The path, if it has no variables.
        variables: The variables alone, those of the domain first.
        begins: The text before the first variable; all of it where there is none.
        key: Equal for rules whose paths match the same, for all that can be told.
        forms: The whole path first. Empty where there are no variables at all.

    Raises:
        TypeError: It is not a str.
        ValueError: It is something else, and the message says what to do.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a rule is a str, not {text!r}; is it @app.route(...) without its parentheses?")
        self.text = text
        try:
            domain, self.pieces = _split(text)
            self.domain = Domain(domain) if domain else None
            self.variables = [piece for piece in [*domain, *self.pieces] if isinstance(piece, Variable)]
            _check(domain, self.pieces)
            self.forms = self._compile() if self.variables else []
        except ValueError as error:
            raise ValueError(f"the rule {text!r}: {error}") from None
        self.begins = str(self.pieces[0])
        self.path = self.begins
        self.key = _key(self.pieces)
        self._stays_text = all(
            type(variable.converter).decode is Converter.decode and variable.groups == 1 for variable in self.variables
        )

    def _compile(self) -> list[Form]:
        """The whole path, and what is left if a variable with a default ends it."""
        forms = [Form(self.pieces, compile_pattern(self.pieces))]
        for i, piece in enumerate(self.pieces):
            if isinstance(piece, Variable) and piece.default is not None:
                forms.append(Form(self.pieces[:i], compile_pattern(self.pieces[:i])))
        return forms

    def match(self, text: str) -> Strings | None:
        """Return what is captured in a path, fewer strings where it ends before a default; None if it does not match.

        Args:
            text: The path, percent-decoded.
        """
        if not self.variables:
            return () if text == self.path else None
        for form in self.forms:
            strings = form.match(text)
            if strings is not None:
                return strings
        return None

    def decode(self, request: HTTPRequest, strings: Strings) -> Sequence[Any]:
        """Make the values of the variables, by their converters, or by their defaults.

        Args:
            request: The request.
            strings: What has been captured.

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


def joined(prefix: str, rule: str) -> str:
    """Return a rule with another one before it (manual: "Module.add").

    Args:
        prefix: A rule without variables that have defaults; a slash at its end counts for nothing.
        rule: A rule.

    Raises:
        ValueError: Both have a domain.
    """
    own, rule = split_domain(rule)
    domain, prefix = split_domain(prefix)
    if own and domain:
        raise ValueError(
            f"the rule {own + rule!r} has a domain, and so has {domain + prefix!r}, below which it is added"
        )
    return f"{domain or own}{prefix.rstrip('/')}{rule}"


def split_domain(text: str) -> tuple[str, str]:
    """Return the domain of a rule, which may be empty, and its path.

    Raises:
        ValueError: It has no path.
    """
    at = 0
    while (at := _next_slash_or_variable(text, at)) < len(text):
        if text[at] == "/":
            return text[:at], text[at:]
        found = _VARIABLE.match(text, at)
        at = at + 1 if found is None else found.end()
    raise ValueError(
        f"the rule {text!r}: a rule is a path, which begins with a slash; only a domain stands before it, as in "
        "example.com/"
    )


def _next_slash_or_variable(text: str, at: int) -> int:
    found = _SLASH_OR_VARIABLE.search(text, at)
    return len(text) if found is None else found.start()


def _key(pieces: Sequence[Piece]) -> tuple[object, ...]:
    return tuple([piece if isinstance(piece, str) else (piece.source, piece.default is not None) for piece in pieces])


def _split(text: str) -> tuple[list[Piece], list[Piece]]:
    """Divide a rule into the pieces of its domain, and those of its path."""
    domain, path = split_domain(text)
    return _pieces(domain, "domainpart"), _pieces(path, "string")


def _pieces(text: str, converter: str) -> list[Piece]:
    """Divide a text into texts and variables, of which those without a converter have the given one."""
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
            pieces.append(_variable(found, converter))
            at = found.end()
        else:
            end = text.find("<", at)
            end = len(text) if end < 0 else end
            pieces.append(text[at:end])
            at = end
    return pieces


def _variable(found: re.Match[str], usual: str) -> Variable:
    default = found["default"]
    name = found["converter"] or usual
    if usual == "domainpart" and name.lower() == "string":  # manual: "DomainPart", used in place of String there
        name = usual
    try:
        converter = find_converter(name)(found["options"], default)
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


def _check_domain_text(text: str) -> None:
    if not text.isascii():
        try:
            ascii_form = text.encode("idna").decode()
        except UnicodeError:
            ascii_form = "xn--..."
        raise ValueError(f"a domain is written in its ASCII form, as {ascii_form!r} is for {text!r}")
    if ":" in text:
        raise ValueError("a domain has no port here, for a route does not depend on it; leave it out")
    if not _DOMAIN_TEXT.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a part of a domain; does a slash at its beginning make it a path?")


def _check(domain: Sequence[Piece], pieces: Sequence[Piece]) -> None:
    """Raise ValueError unless the pieces make a rule together."""
    names = {piece.name for piece in domain if isinstance(piece, Variable)}
    if len(names) < sum(isinstance(piece, Variable) for piece in domain):
        raise ValueError("two variables in the domain have the same name; rename one")
    with_default = None
    for piece in pieces:
        if isinstance(piece, str):
            if ">" in piece:
                raise ValueError("there is a > that ends no variable; it cannot stand in a path")
            if DOT_SEGMENT.search(piece):
                raise ValueError("it has a segment . or .., which clients take out of what they ask for")
            if "?" in piece or "#" in piece:
                raise ValueError("a rule is a path, without query and fragment")
            if escape := _ESCAPE.search(piece):
                raise ValueError(f"paths are decoded before they are compared; write the character for {escape[0]}")
            continue
        if piece.name in _RESERVED:
            raise ValueError(f"a variable cannot be called {piece.name}, which means something to url_for(); rename it")
        if piece.name in names:
            raise ValueError(f"two variables are named {piece.name!r}; rename one")
        names.add(piece.name)
        if piece.default is not None:
            with_default = piece.name
        elif with_default is not None:
            raise ValueError(
                f"<{piece.name}> needs a default too, since the path may end where <{with_default}> has one"
            )
