"""Challenges (RFC 9110 §11): how they are read, and which of Digest (RFC 7616) are understood. Sans-IO.

Quantifiers are possessive, so that whatever a server sends is read in linear time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple

_TCHAR: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# An element of a list with its end: a comma, the end of the field, or a quote that is never closed.
_ELEMENT: Final = re.compile(r'((?:[^",]++|"(?:[^"\\]++|\\.)*+")*+)([,"]|\Z)', re.DOTALL)
# RFC 9110 §11.2, §5.6.4. With no control characters but the tab.
_PARAMETER: Final = re.compile(
    rf'({_TCHAR}++)[ \t]*+=[ \t]*+(?:({_TCHAR}++)|"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+)")'
)
# RFC 9110 §11.3: how a challenge begins. A space and an equals sign behind the token make it the name of a parameter.
_BEGINNING: Final = re.compile(rf"({_TCHAR}++)(?:[ \t]++(?!=)(.++))?", re.DOTALL)
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]++=*+")
_ESCAPED: Final = re.compile(r"\\(.)")


class Challenge(NamedTuple):
    """What a server asks for (RFC 9110 §11.3).

    Attributes:
        scheme: The authentication scheme, in lower case.
        token68: What follows it, if that is one token.
        parameters: The values by their names in lower case, without quotes and escapes.
    """

    scheme: str
    token68: str | None
    parameters: dict[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Read challenges (RFC 9110 §11.6.1), leniently: one that is malformed is skipped, the others are taken.

    Args:
        values: The values of the fields, as they came. They make one list together (§5.3).

    Example:
        >>> for challenge in parse_challenges(['Negotiate a=, Basic realm="a, b"', "Digest"]):
        ...     print(challenge.scheme, challenge.token68, challenge.parameters)
        negotiate a= {}
        basic None {'realm': 'a, b'}
        digest None {}
    """
    challenges: list[Challenge] = []
    current: Challenge | None = None
    for element in chain.from_iterable(map(_elements, values)):
        if beginning := _BEGINNING.fullmatch(element):
            scheme, element = beginning[1].lower(), beginning[2] or ""
            current = Challenge(scheme, element if _TOKEN68.fullmatch(element) else None, {})
            challenges.append(current)
            if element == (current.token68 or ""):
                continue
        if current is None:  # what remains of one that was skipped
            continue
        parameter = _read_parameter(element)
        # RFC 9110 §11.2: each comes once only.
        if parameter is None or parameter[0] in current.parameters or current.token68 is not None:
            challenges.pop()
            current = None
        else:
            current.parameters[parameter[0]] = parameter[1]
    return challenges


def parse_parameters(values: Iterable[str]) -> dict[str, str]:
    """Read the parameters of Authentication-Info (RFC 9110 §11.6.3), leniently: malformed ones are skipped.

    Args:
        values: The values of the fields, as they came.

    Returns:
        The values by their names in lower case, without quotes and escapes; the first of each name.
    """
    parameters: dict[str, str] = {}
    for name, value in filter(None, map(_read_parameter, chain.from_iterable(map(_elements, values)))):
        parameters.setdefault(name, value)
    return parameters


def _elements(value: str) -> Iterator[str]:
    """Yield the elements of a list that are not empty (RFC 9110 §5.6.1). What has an open quote reaches to the end."""
    for match in _ELEMENT.finditer(value):
        if match[2] == '"':
            yield value[match.start() :].strip(" \t")
            return
        if element := match[1].strip(" \t"):
            yield element


def _read_parameter(element: str) -> tuple[str, str] | None:
    match = _PARAMETER.fullmatch(element)
    if match is None:
        return None
    return match[1].lower(), match[2] or _ESCAPED.sub(r"\1", match[3])


# --- Digest -----------------------------------------------------------------------------------------------------------


def hash_parts(name: str, *parts: str) -> str:
    """Return the digest of parts with colons between them, in hexadecimal.

    Args:
        name: Of the algorithm, as `hashlib.new` has it.
        parts: Each character stands for a byte.

    Raises:
        ValueError: There is no such algorithm here.
    """
    # MD5 is what some servers ask for; a Python that has it for nothing secure would refuse.
    return hashlib.new(name, ":".join(parts).encode("latin-1"), usedforsecurity=False).hexdigest()


def _is_here(name: str) -> bool:
    try:
        hash_parts(name)
    except ValueError:
        return False
    return True


# RFC 7616 §6.1: the algorithms as they are called there, in lower case, and by hashlib. OpenSSL may lack some.
_HASHES: Final = {
    algorithm: name
    for algorithm, name in (("md5", "md5"), ("sha-256", "sha256"), ("sha-512-256", "sha512_256"))
    if _is_here(name)
}


@dataclasses.dataclass(frozen=True, slots=True)
class DigestChallenge:
    """A challenge of Digest that is understood (RFC 7616 §3.3).

    Attributes:
        realm: What is protected.
        nonce: What the answer is made with.
        opaque: What is sent back as it came, or None.
        algorithm: As the server wrote it; None where it did not.
        hash_name: What hashlib calls it.
        is_sess: Whether there is a session key.
        qop: The quality of protection to use, "auth" or "auth-int"; None for RFC 2069.
        userhash: Whether the username is sent hashed.
        stale: Whether the answer was right but for its nonce. Nothing that makes it another challenge.
    """

    realm: str
    nonce: str
    opaque: str | None
    algorithm: str | None
    hash_name: str
    is_sess: bool
    qop: str | None
    userhash: bool
    stale: bool = dataclasses.field(compare=False)


def choose_digest(values: Iterable[str], hash_body: Callable[[str], str | None]) -> DigestChallenge | None:
    """Return the challenge of Digest to answer: of the strongest the first, which is the one the server prefers.

    Args:
        values: The values of WWW-Authenticate, as they came.
        hash_body: Returns the digest of the request's body, or None where that cannot be told.

    Returns:
        The challenge; None where there is none that can be answered.
    """
    found: DigestChallenge | None = None
    for scheme, _, parameters in parse_challenges(values):
        challenge = _read_digest(parameters) if scheme == "digest" else None
        if challenge is None or (found is not None and (challenge.hash_name == "md5" or found.hash_name != "md5")):
            continue
        if challenge.qop != "auth-int" or hash_body(challenge.hash_name) is not None:
            found = challenge
    return found


def _read_digest(parameters: Mapping[str, str]) -> DigestChallenge | None:
    algorithm = parameters.get("algorithm")
    name = "md5" if algorithm is None else algorithm.lower()
    hash_name = _HASHES.get(name.removesuffix("-sess"))
    is_sess = name.endswith("-sess")
    qop = None
    if "qop" in parameters:
        offered = [value.strip(" \t").lower() for value in parameters["qop"].split(",")]
        qop = next((value for value in ("auth", "auth-int") if value in offered), "")
    # The key of a session is made with a cnonce, which RFC 2069 does not have.
    if hash_name is None or qop == "" or (is_sess and qop is None) or not {"realm", "nonce"} <= parameters.keys():
        return None
    return DigestChallenge(
        parameters["realm"],
        parameters["nonce"],
        parameters.get("opaque"),
        algorithm,
        hash_name,
        is_sess,
        qop,
        parameters.get("userhash", "").lower() == "true",
        parameters.get("stale", "").lower() == "true",
    )
