"""Fuzz target for `pants.http._forms.MultipartForm`: any form, damaged anyhow, cut up anyhow.

    python fuzz/fuzz_multipart.py [EXAMPLES]

What must hold: nothing but Refused is raised; how a body is cut makes no difference, but for one that `is_sloppy`; a
form that was not damaged gives what was put in; and one that is accepted all the same has the contents that `split`
finds, by the grammar of RFC 2046.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pants.http._forms import MultipartForm
from pants.http._limits import Limits
from pants.http._refused import Refused

LIMITS = Limits(spool_size=20, form_fields=4, form_memory=200, multipart_parts=6, part_headers=300)


class Part(NamedTuple):
    """What is put into a form; a file has a filename."""

    name: str
    filename: str | None
    content: bytes


Outcome = tuple[dict[str, list[str]], dict[str, list[tuple[str, bytes]]]] | None

bits = st.sampled_from(
    [b"a", b"\r", b"\n", b"\r\n", b"-", b"--", b"B", b"--B", b"--BB", b"\r\n--B", b"\r\n--BB", b" ", b"\x00", b"\xff"]
)
contents = st.lists(bits, max_size=20).map(b"".join)
names = st.text(st.sampled_from('ab";= %\\ä/'), max_size=6)
parts = st.builds(Part, names, st.none() | names, contents)
# What a form is damaged with.
damage = bits | st.sampled_from(
    [
        *(
            b";",
            b'"',
            b":",
            b"=",
            b"\t",
            b"\xef\xbb\xbf",
            b"\r\n\r\n",
            b"--BB\r\n",
            b"--BB--\r\n",
            b"X: y\r\n",
            b" y\r\n",
        ),
        *(
            b"Content-Disposition: form-data; name=c\r\n",
            b"Content-Length: 1\r\n",
            b"Content-Type: ;charset=utf-16\r\n",
        ),
        *(b"filename=", b"filename*=utf-8''a", b"Content-Transfer-Encoding: base64\r\n", b"x" * 301),
    ]
)


def encode(form: list[Part], preamble: bytes, epilogue: bytes) -> bytes:
    """Write a form as browsers do."""
    body = preamble
    for part in form:
        disposition = f'form-data; name="{quoted(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{quoted(part.filename)}"'
        body += b"--BB\r\nContent-Disposition: %b\r\n\r\n%b\r\n" % (disposition.encode(), part.content)
    return body + b"--BB--" + epilogue


def quoted(name: str) -> str:
    """Write a name as browsers do."""
    return name.replace('"', "%22")


def split(body: bytes) -> list[bytes]:
    """Give the contents of the parts (RFC 2046 §5.1.1), all at once."""
    found = []
    for piece in (b"\r\n" + body).split(b"\r\n--BB")[1:]:
        if piece.startswith(b"--"):
            break
        found.append(piece.partition(b"\r\n\r\n")[2])
    return found


def is_sloppy(body: bytes) -> bool:
    """Whether there is a line feed without a carriage return at the end of what may be the name or value of a header.

    multipart refuses that, unless the header arrives in one piece: then it takes the line feed for a space.
    """
    return re.search(rb"(?<!\r)\n\s*(?::|\r\n)|(?::|\r\n)\s*(?<!\r)\n", body) is not None


def parse(pieces: list[bytes]) -> Outcome:
    """Feed the pieces; give None if they are refused."""
    form = MultipartForm(b"BB", LIMITS)
    try:
        for piece in pieces:
            form.feed(piece)
        form.finish()
        files = {
            name: [(file["filename"], file["file"].read()) for file in files] for name, files in form.files.items()
        }
    except Refused:
        return None
    finally:
        form.close()
    return form.fields, files


def expected(form: list[Part]) -> Outcome:
    """Give what should come out of a form that was not damaged."""
    fields: dict[str, list[str]] = {}
    files: dict[str, list[tuple[str, bytes]]] = {}
    for part in form:
        # Of a directory, no name is left; and what is no name is refused.
        filename = None if part.filename is None else part.filename.replace("\\", "/").rpartition("/")[2]
        if part.filename is None:
            fields.setdefault(part.name, []).append(part.content.decode(errors="replace"))
        elif filename or part.content:
            files.setdefault(part.name, []).append((filename or "", part.content))
    lengths = [len(part.content) for part in form if part.filename is None]
    if len(form) > LIMITS.multipart_parts or len(lengths) > LIMITS.form_fields or sum(lengths) > LIMITS.form_memory:
        return None
    return fields, files


def check(
    form: list[Part], places: list[tuple[int, int, bytes]], around: tuple[bytes, bytes], draw: st.DataObject
) -> None:
    """Put a form together, damage it, and take it apart."""
    preamble, epilogue = around
    preamble = preamble + b"\r\n" if preamble else b""
    # A boundary in the content, or in what precedes the parts, damages a form as well.
    whole = not places and all(
        b"\r\n--BB" not in b"\r\n" + data for data in (preamble, *(part.content for part in form))
    )
    body = encode(form, preamble, epilogue)
    for place, length, what in places:
        place %= len(body) + 1
        body = body[:place] + what + body[place + length :]
    pieces = []
    rest = body
    while rest:
        size = draw.draw(st.integers(1, 40))
        pieces.append(rest[:size])
        rest = rest[size:]

    outcome = parse([body])
    for cut in (pieces, [body[at : at + 1] for at in range(len(body))]):
        result = parse(cut)
        assert result == outcome or (result is None and not whole and is_sloppy(body))
    if whole:
        assert outcome == expected(form)
    if outcome is not None:
        fields, files = outcome
        found = [value for values in fields.values() for value in values]
        found += [content.decode(errors="replace") for values in files.values() for _, content in values]
        assert sorted(filter(None, found)) == sorted(
            filter(None, (part.decode(errors="replace") for part in split(body)))
        )


def fuzz(examples: int) -> None:
    """Try so many examples."""
    bounded = settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    given(
        st.lists(parts, max_size=8),
        st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 4), damage), max_size=3),
        st.tuples(contents, contents),
        st.data(),
    )(bounded(check))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
