"""Fuzz target for `pants.delimiter`: any bytes, cut up anyhow, with any delimiter and limit.

    python fuzz/fuzz_delimiter.py [EXAMPLES]

What must hold: the frames, and the error that ends them, are those of `expected`, which does one byte's work at a time
on all of the data; nothing but BufferOverflow and DelimiterError is raised; and what was delivered and what is pending
add up to what was fed.
"""

from __future__ import annotations

import re
import struct
import sys
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netstruct import NetStruct

from pants.delimiter import Framer
from pants.errors import BufferOverflow, DelimiterError

# The patterns are of the kind whose result does not depend on how much has arrived: no `\n+`, which matches the first
# of two line feeds if that is all there is. For the bounded ones: how many bytes of a match may have been seen in vain.
BOUNDED = {
    rb"\r?\n": 1,
    rb"ab|cad": 2,
    rb"[\n;]": 0,
    rb"(?i)a[\x00-c]b": 2,
    rb"(a)\1": 1,
    rb"(?m:^)\n": 1,
    rb"\ba": 1,
    rb"(?:a;){2}": 3,
}
UNBOUNDED = [rb"a[^b]*b", rb"\n(?=[^ ])", rb"(?<=;)\n", rb"^;.*?\n", rb"[^\n]{0,5000}\n"]
MATCHED = [rb"([^\n]*)\n", rb"(a|b)?(;)", rb"\A.", rb"(a+?)(?=b)", rb"x*"]
NETSTRUCTS = [b"B$", b"B$2xB$", b"<H$b", b"HB", b"B$bB$B"]

data = st.lists(
    st.sampled_from([b"a", b"b", b"c", b"\r", b"\n", b";", b" ", b"\x00", b"\x01", b"\x02", b"\xff"]), max_size=60
).map(b"".join)
delimiters = st.one_of(
    st.sampled_from([None, b"\n", b"\r\n", b"aa", b"abab", b";" * 20]),
    st.integers(1, 20),
    st.sampled_from(["B", ">H", "!bHx", "4s"]).map(struct.Struct),
    st.sampled_from(NETSTRUCTS).map(NetStruct),
    st.sampled_from([*BOUNDED, *UNBOUNDED, *MATCHED]).map(re.compile),
)


def next_frame(delimiter: Any, search: bool, limit: int, rest: bytes) -> tuple[Any, int] | None:
    """Give the first frame of the data and how much it takes; None if it is incomplete. The slow and simple way."""
    if delimiter is None:
        return rest, len(rest)
    if isinstance(delimiter, bytes):
        frame, found, _ = rest.partition(delimiter)
        if len(frame) - (0 if found else len(delimiter) - 1) > limit:
            raise BufferOverflow
        return (frame, len(frame + found)) if found else None
    if isinstance(delimiter, int):
        return (rest[:delimiter], delimiter) if len(rest) >= delimiter else None
    if isinstance(delimiter, struct.Struct):
        size = delimiter.size
        return (delimiter.unpack(rest[:size]), size) if len(rest) >= size else None
    if isinstance(delimiter, NetStruct):
        unpacking = delimiter.iter_unpack(rest)
        result = next(unpacking)
        size = len(rest) + (result if isinstance(result, int) else -len(next(unpacking)))
        if size > limit:
            raise BufferOverflow
        return None if isinstance(result, int) else (tuple(result), size)
    return next_match(delimiter, search, limit, rest)


def next_match(pattern: re.Pattern[bytes], search: bool, limit: int, rest: bytes) -> tuple[Any, int] | None:
    """Do the same for a pattern, trying it after each byte."""
    slack = BOUNDED.get(pattern.pattern) if search else None
    for seen in range(1, len(rest) + 1):
        match = pattern.search(rest[:seen]) if search else pattern.match(rest[:seen])
        if match is None:
            if seen - (slack or 0) > limit:
                raise BufferOverflow
            continue
        if (match.end() if slack is None else match.start()) > limit:
            raise BufferOverflow
        if match.end() == 0:
            raise DelimiterError
        return (rest[: match.start()] if search else (match.group(), *match.groups())), match.end()
    return None


def expected(delimiter: Any, search: bool, limit: int, rest: bytes) -> tuple[list[Any], type | None, int]:
    """Give all frames of the data, the kind of error that ends them, and how much is left."""
    frames: list[Any] = []
    while rest:
        try:
            found = next_frame(delimiter, search, limit, rest)
        except (BufferOverflow, DelimiterError) as error:
            return frames, type(error), len(rest)
        if found is None:
            break
        frames.append(found[0])
        rest = rest[found[1] :]
    return frames, None, len(rest)


def as_text(delimiter: Any) -> Any:
    """Give the delimiter that means the same for text of which each character stands for a byte."""
    if isinstance(delimiter, bytes):
        return delimiter.decode("latin-1")
    if isinstance(delimiter, re.Pattern):
        return re.compile(delimiter.pattern.decode("latin-1"), re.ASCII)
    return delimiter


def plain(values: tuple[Any, ...]) -> Any:
    """Give what was received in the form in which `expected` has it."""
    value = values[0]
    if isinstance(value, re.Match):
        groups = (value.group(), *value.groups())
        return tuple(group.encode("latin-1") if isinstance(group, str) else group for group in groups)
    return value.encode("latin-1") if isinstance(value, str) else value


def feed_in_pieces(delimiter: Any, search: bool, text: bool, limit: int, data: bytes, draw: st.DataObject) -> None:
    """Feed the data in pieces, and hold what comes out against what was expected."""
    if isinstance(delimiter, re.Pattern) and (delimiter.pattern in MATCHED or delimiter.pattern not in BOUNDED):
        search = delimiter.pattern not in MATCHED
    unpacks = isinstance(delimiter, (struct.Struct, NetStruct))
    text = text and not unpacks
    framer = Framer(as_text(delimiter) if text else delimiter, limit=limit, regex_search=search, text=text)
    frames: list[Any] = []
    error, fed = None, 0
    while fed < len(data) and error is None:
        piece = data[fed : fed + draw.draw(st.integers(1, 12))]
        framer.feed(piece.decode("latin-1") if text else piece)
        fed += len(piece)
        try:
            framer.deliver(lambda *values: frames.append(values if unpacks else plain(values)))
        except (BufferOverflow, DelimiterError) as raised:
            error = type(raised)

    wanted, wanted_error, left = expected(delimiter, search, framer.limit, data)
    if delimiter is None:
        frames, wanted = [b"".join(frames)], [b"".join(wanted)]
    assert frames == wanted
    assert error == wanted_error
    assert framer.pending == left - (len(data) - fed)


def fuzz(examples: int) -> None:
    """Try so many examples."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    given(delimiters, st.booleans(), st.booleans(), st.integers(1, 40), data, st.data())(bounded(feed_in_pieces))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
