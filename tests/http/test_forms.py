"""`pants.http._forms`: queries and forms, as the manual, RFC 7578 and RFC 2046 have them; and what they may not do."""

from __future__ import annotations

import csv
import encodings
import http.server
import importlib.util
import io
import os
import random
import shutil
import subprocess
import threading
import tracemalloc
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pants.http._forms import MultipartForm, UploadedFile, boundary_of, is_urlencoded, parse_query, parse_urlencoded
from pants.http._limits import Limits
from pants.http._refused import Refused

LIMITS = Limits()
URLENCODED = "application/x-www-form-urlencoded"
NAMED = b'Content-Disposition: form-data; name="a"'
END = b"--BB--\r\n"


def part(content: bytes = b"x", *headers: bytes) -> bytes:
    return b"".join([b"--BB\r\n", b"\r\n".join(headers or (NAMED,)), b"\r\n\r\n", content, b"\r\n"])


def named(disposition: str, content: bytes = b"x") -> bytes:
    return part(content, b"Content-Disposition: form-data; " + disposition.encode())


def upload(content: bytes = b"x", filename: str = "b", name: str = "a") -> bytes:
    return named(f'name="{name}"; filename="{filename}"', content)


_forms: list[MultipartForm] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _forms:
        _forms.pop().close()


def form_of(*pieces: bytes, limits: Limits = LIMITS, charset: str = "utf-8", boundary: bytes = b"BB") -> MultipartForm:
    form = MultipartForm(boundary, limits, charset)
    _forms.append(form)
    for piece in pieces:
        form.feed(piece)
    form.finish()
    return form


def taken(form: MultipartForm) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, str, bytes]]]]:
    files = {
        name: [(file["filename"], file["content_type"], file["body"]) for file in files]
        for name, files in form.files.items()
    }
    form.close()
    return form.fields, files


def status_of(*pieces: bytes, limits: Limits = LIMITS) -> int:
    with pytest.raises(Refused) as refused:
        form_of(*pieces, limits=limits)
    return refused.value.status


def only_file(body: bytes) -> UploadedFile:
    return form_of(body).files["a"][0]


# -- queries, urlencoded forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("", {}),
        ("a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        ("a=&b&c=1", {"c": ["1"]}),  # keep_blank_values is False
        ("a=1;b=2", {"a": ["1;b=2"]}),  # no other separator than &
        ("a=b=c", {"a": ["b=c"]}),
        ("&&a=1&", {"a": ["1"]}),
        ("a+b=c+d%20e%2B", {"a b": ["c d e+"]}),
        ("a=%C3%A4", {"a": ["ä"]}),
        ("a=\xc3\xa4", {"a": ["ä"]}),  # raw UTF-8
        ("\xc3%A4=%C3\xa4x", {"ä": ["äx"]}),  # half of it raw
        ("a=%E4", {"a": ["\ufffd"]}),
        ("a=\xe4", {"a": ["\ufffd"]}),
        ("a=%", {"a": ["%"]}),
        ("a=%0g&b=%4", {"a": ["%0g"], "b": ["%4"]}),
        ("a=%00", {"a": ["\0"]}),
    ],
)
def test_a_query_is_parsed_as_the_manual_says(text: str, wanted: dict[str, list[str]]) -> None:
    assert parse_query(text, LIMITS) == wanted
    assert parse_urlencoded(text.encode("latin-1"), URLENCODED, LIMITS) == wanted


def test_a_query_of_random_bytes_is_what_parse_qs_makes_of_it() -> None:
    dice = random.Random(1)
    for _ in range(300):
        text = "".join(dice.choices("ab=&%+;0123456789ABCDEFéä\x00", k=40))
        encoded = urllib.parse.quote(text, safe="ab=&%+;0123456789ABCDEF\x00", encoding="latin-1")
        assert parse_query(text, LIMITS) == urllib.parse.parse_qs(encoded, errors="replace")


def test_too_many_fields_in_a_query_make_the_target_too_long() -> None:  # RFC 9110 §15.5.15
    limits = Limits(form_fields=3)
    assert parse_query("a=1&a=2&a=3", limits) == {"a": ["1", "2", "3"]}
    with pytest.raises(Refused) as refused:
        parse_query("a=1&a=2&a=3&a=4", limits)
    assert refused.value.status == 414


def test_too_many_fields_in_a_form_are_too_much_content() -> None:  # RFC 9110 §15.5.14
    with pytest.raises(Refused) as refused:
        parse_urlencoded(b"a=1&a=2&a=3&a=4", URLENCODED, Limits(form_fields=3))
    assert refused.value.status == 413


def test_a_urlencoded_form_is_bounded() -> None:
    limits = Limits(form_memory=5)
    assert parse_urlencoded(b"a=123", URLENCODED, limits) == {"a": ["123"]}
    with pytest.raises(Refused) as refused:
        parse_urlencoded(b"a=1234", URLENCODED, limits)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    "charset, body, wanted",
    [
        ("iso-8859-1", b"a=%E4\xe4", "ää"),
        ('"ISO-8859-1"', b"a=%E4", "ä"),
        ("windows-1251", b"a=%E0", "а"),
        ("Shift_JIS", b"a=%83%5C", "ソ"),
        ("koi8-u", b"a=%A4", "є"),
        *((charset, b"a=%C3%A4", "ä") for charset in ("utf-8", "UTF8", "", '""', "no-such", "..", "a\0", "ä" * 99)),
        # These are known, but they are not for text, ...
        *((charset, b"a=%C3%A4", "ä") for charset in ("base64", "zip", "zlib", "bz2", "hex", "rot13", "uu", "quopri")),
        # ... not to be trusted ...
        *((charset, b"a=%C3%A4", "ä") for charset in ("idna", "punycode", "unicode_escape", "undefined", "utf-7")),
        # ... or have other marks than "a=1&b=2".
        *((charset, b"a=%C3%A4", "ä") for charset in ("utf-16", "utf-32-le", "cp037", "mbcs", "oem")),
    ],
)
def test_a_charset_is_honoured_if_it_is_known_and_for_text(charset: str, body: bytes, wanted: str) -> None:
    assert parse_urlencoded(body, f"{URLENCODED}; charset={charset}", LIMITS) == {"a": [wanted]}


def test_unknown_charsets_are_not_remembered() -> None:
    before = len(encodings._cache)
    for number in range(50):
        parse_urlencoded(b"a=1", f"{URLENCODED}; charset=x{number}", LIMITS)
    assert len(encodings._cache) == before


# -- content types ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type, wanted",
    [
        (URLENCODED, True),
        ("Application/X-WWW-Form-URLEncoded ; charset=utf-8", True),
        (f"{URLENCODED};", True),
        ("", False),
        ("text/plain", False),
        (f"{URLENCODED}x", False),
        (f"text/plain; x={URLENCODED}", False),
    ],
)
def test_a_urlencoded_form_is_told_by_its_type(content_type: str, wanted: bool) -> None:
    assert is_urlencoded(content_type) is wanted


@pytest.mark.parametrize(
    "parameters, wanted",
    [
        ("; boundary=abc", b"abc"),
        (";boundary=abc", b"abc"),
        (" ; \t BOUNDARY=abc ; ", b"abc"),
        ("; charset=utf-8; boundary=abc", b"abc"),
        ('; x="; boundary=y"; boundary=abc', b"abc"),
        ("; boundary=----WebKitFormBoundaryABC123", b"----WebKitFormBoundaryABC123"),
        ('; boundary="a b"', b"a b"),
        ('; boundary="gc0pJq0M:08jU534c0p"', b"gc0pJq0M:08jU534c0p"),  # RFC 2046 §5.1.1
        ('; boundary="\'()+_,-./:=?"', b"'()+_,-./:=?"),
        (r'; boundary="a\b"', b"ab"),  # RFC 9110 §5.6.4
        (";; boundary=" + "a" * 70, b"a" * 70),
    ],
)
def test_the_boundary_is_a_parameter_of_the_type(parameters: str, wanted: bytes) -> None:
    assert boundary_of("multipart/form-data" + parameters) == wanted
    assert boundary_of("Multipart/Form-Data" + parameters) == wanted
    assert boundary_of("multipart/mixed" + parameters) is None


@pytest.mark.parametrize(
    "parameters",
    [
        *("", ";", "; boundary", "; boundary=", '; boundary=""', "; boundary=" + "a" * 71, '; boundary="abc'),
        *('; boundary="abc "', '; boundary="a;b"', '; boundary="a\tb"', '; boundary="\xe4"', "; boundary=\xe4"),
        "; boundary=gc0pJq0M:08jU534c0p",  # RFC 2046 §5.1.1 has it as an example of what has to be quoted
        *("; boundary=a b", "; boundary = a", "; boundary=a; boundary=b", "; boundary=a; BOUNDARY=a"),
        *("; boundary=a, multipart/form-data; boundary=b", '; boundary="a"b', "; x; boundary=a", '; boundary="a\\"b"'),
        "; boundary=a" + " " * 8000 + "b",
    ],
)
def test_a_bad_boundary_is_refused(parameters: str) -> None:  # RFC 2046 §5.1.1
    with pytest.raises(Refused) as refused:
        boundary_of("multipart/form-data" + parameters)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", URLENCODED, "multipart/form-datax; boundary=a", "multipart"]
)
def test_other_types_have_no_boundary(content_type: str) -> None:
    assert boundary_of(content_type) is None


# -- multipart forms: what they say -------------------------------------------------------------------------------

PHOTO = bytes(range(256)) * 3
MIXED = b"".join(
    [
        b"ignored\r\n--B\r\n--b\r\n",
        part(b"one"),
        part(b"two\r\nlines"),
        part(b"", b'Content-Disposition: form-data; name="empty"'),
        part(PHOTO, b'Content-Disposition: form-data; name="p"; filename="p.jpg"', b"Content-Type: image/jpeg"),
        part(b"\r\n--B\r\n-BB\r\r\n-\n--BB", b'content-disposition:form-data;name=p;filename="q"'),
        END,
        b"ignored\r\n--BB\r\n",
    ]
)
FIELDS = {"a": ["one", "two\r\nlines"], "empty": [""]}
FILES = {"p": [("p.jpg", "image/jpeg", PHOTO), ("q", "text/plain", b"\r\n--B\r\n-BB\r\r\n-\n--BB")]}

# What Firefox and Chromium send for a form with a text, a file, an empty file input and a text area.
BROWSER_BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"
BROWSER = (
    b'--@\r\nContent-Disposition: form-data; name="t"\r\n\r\nBl\xc3\xbcten\r\n'
    b'--@\r\nContent-Disposition: form-data; name="f"; filename="na%22me \xe2\x82\xac.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\ncontent\n\r\n"
    b'--@\r\nContent-Disposition: form-data; name="none"; filename=""\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n\r\n"
    b'--@\r\nContent-Disposition: form-data; name="area%22"\r\n\r\n\r\n--@--\r\n'
).replace(b"@", BROWSER_BOUNDARY)


def test_a_form_has_fields_and_files() -> None:
    assert taken(form_of(MIXED)) == (FIELDS, FILES)


def test_what_browsers_send() -> None:
    form = form_of(BROWSER, boundary=BROWSER_BOUNDARY)
    assert taken(form) == ({"t": ["Blüten"], 'area"': [""]}, {"f": [('na"me €.txt', "text/plain", b"content\n")]})


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted."""

    posted: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((self.headers["Content-Type"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_what_curl_sends(tmp_path: Path) -> None:
    content = os.urandom(3000) + b"\r\n--"
    (tmp_path / "a b.bin").write_bytes(content)
    Receiver.posted = []
    with http.server.HTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.timeout = 10
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        fields = ["-F", "a=1", "-F", 'f=@a b.bin;filename="we\\"ird;.bin"', "-F", "a=ü;type=text/x", "-F", "c=@a b.bin"]
        url = f"http://127.0.0.1:{server.server_port}/"
        command = ["curl", "-s", "-m", "10", "--noproxy", "*", "-H", "Expect:", *fields, url]
        subprocess.run(command, cwd=tmp_path, check=True)
        thread.join()
    [(content_type, body)] = Receiver.posted
    boundary = boundary_of(content_type)
    assert boundary is not None
    unknown = "application/octet-stream"
    assert taken(form_of(body, boundary=boundary)) == (
        {"a": ["1", "ü"]},
        {"f": [('we"ird;.bin', unknown, content)], "c": [("a b.bin", unknown, content)]},
    )


@pytest.mark.parametrize(
    "body, boundary, wanted",
    [
        (MIXED, b"BB", (FIELDS, FILES)),
        (
            BROWSER,
            BROWSER_BOUNDARY,
            ({"t": ["Blüten"], 'area"': [""]}, {"f": [('na"me €.txt', "text/plain", b"content\n")]}),
        ),
        (END, b"BB", ({}, {})),
        (b"\r\n" + END, b"BB", ({}, {})),
        (part() + b"--BB--", b"BB", ({"a": ["x"]}, {})),
        (b"x--BB\r\n\r\n" + part() + END + b"--BB\r\n", b"BB", ({"a": ["x"]}, {})),  # not at the beginning of a line
    ],
)
def test_a_form_may_be_cut_anywhere(body: bytes, boundary: bytes, wanted: Any) -> None:
    for cut in range(len(body) + 1):
        assert taken(form_of(body[:cut], body[cut:], boundary=boundary)) == wanted
    for size in (1, 2, 3, 7):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert taken(form_of(*pieces, boundary=boundary)) == wanted


def test_a_form_is_incomplete_up_to_its_last_boundary() -> None:
    body = part(b"one") + part(b"two") + b"--BB--"
    for cut in range(len(body)):
        assert status_of(body[:cut]) == 400
        assert status_of(*[body[at : at + 1] for at in range(cut)]) == 400


@pytest.mark.parametrize(
    "body",
    [
        (part() + END).replace(b"\r\n", b"\n"),  # RFC 2046 §4.1.1: lines end with CRLF
        (part() + END).replace(b"\r\n", b"\r"),
        b"--BB\r\n" + NAMED + b"\n\r\nx\r\n" + END,
        b"--BB\r\n" + NAMED + b"\nX: y\r\n\r\nx\r\n" + END,
        b"--BB\r\n" + NAMED + b"\n\nx\r\n" + END,
        b"--BB\n" + NAMED + b"\r\n\r\nx\r\n" + END,
        part(b"x\n--BB--\n"),
        b"--BB \r\n" + NAMED + b"\r\n\r\nx\r\n" + END,  # padding, which no transport of HTTP adds
        part() + b"--BB \t\r\n" + NAMED + b"\r\n\r\nx\r\n" + END,
        # RFC 2046 §5.1.1: "it is sufficient that the boundary appear in its entirety following the CRLF"
        part(b"\r\n--BBB\r\n") + END,
        part(b"\r\n--BB-\r\n") + END,
        b"--BBB\r\n" + part() + END,
        # A part of that grammar which has no body; for others, it begins with the boundary.
        b"--BB\r\n" + NAMED + b"\r\n\r\n--BB--\r\n",
        b"--BB\r\n" + NAMED + b"\r\n\r\n" + part() + END,
        b"--BB\r\n" + NAMED + b'; filename="f"\r\n\r\n' + part() + END,
        b"--BB\r\n\r\nx\r\n" + END,
        part(b"x", b"Content-Type: text/plain") + END,
        *(part(b"x", NAMED, header) + END for header in (b"X", b": y", b"X\0: y", b"X: \0", b"X: a\rb", b"X: \x7f")),
        *(
            part(b"x", NAMED, b"Content-Length: " + length) + END
            for length in (b"2", b"-1", b"a", b"9" * 5000, b"\xd9\xa1")
        ),
        part(b"x", NAMED, NAMED) + END,
        part(b"x", NAMED, b"Content-Type: a/b", b"Content-Type: c/d") + END,
        part(b"x", b"\xef\xbb\xbf" + NAMED) + END,
        b"",
        b"--",
        b"x" * 1000,
        b"--BB",
        b"--BB-",
        b"--BB\r\n--BB--\r\n",
    ],
)
def test_what_is_malformed_is_refused(body: bytes) -> None:
    assert status_of(body) == 400
    assert status_of(*[body[at : at + 1] for at in range(len(body))]) == 400


@pytest.mark.parametrize(
    "disposition",
    [
        *("", "attachment", 'attachment; name="a"', "form-data", "form-data;", 'form-data name="a"', "form-data; name"),
        *(
            "form-data; name=",
            'form-data; name="a',
            'form-data; name="a" b',
            "form-data; name=a b",
            "form-data, name=a",
        ),
        *(
            'form-data; name="a"; name="b"',
            'form-data; name="a"; NAME="a"',
            'form-data; name="a"; filename="b"; filename="b"',
        ),
        *(
            "form-data; name*=utf-8''a",
            "form-data; filename=a",
            'form-data; name="a"; filename=a/b',
            "form-data; name=ä",
        ),
    ],
)
def test_a_part_has_one_name_and_at_most_one_filename(disposition: str) -> None:  # RFC 7578 §4.2
    assert status_of(part(b"x", b"Content-Disposition: " + disposition.encode()) + END) == 400


@pytest.mark.parametrize("character", ["\0", "\x01", "\x1f", "\x7f", "\x85", "%0D%0A", "%0A", "%0D", "\t"])
def test_names_have_no_control_characters(character: str) -> None:
    assert status_of(named(f'name="a{character}b"') + END) == 400
    assert status_of(named(f'name="a"; filename="a{character}b"') + END) == 400


def test_names_are_in_utf_8() -> None:  # RFC 7578 §5.1
    assert list(form_of(named('name="ä€😀"') + END).fields) == ["ä€😀"]
    assert status_of(part(b"x", b'Content-Disposition: form-data; name="\xe4"') + END) == 400


@pytest.mark.parametrize(
    "written, name",
    [
        *(('"a"', "a"), ("a", "a"), ('""', ""), ('"a b"', "a b"), ('"a;b=c"', "a;b=c"), ('"a%22b"', 'a"b')),
        *(('"a%2Cb%0d%"', "a%2Cb%0d%"), (r'"a\"b"', 'a"b'), (r'"a\\b\"c"', r'a\b"c'), (r'"a\b"', r"a\b")),
        *(('"a[]"', "a[]"), (r'"a\"', "a\\")),
    ],
)
def test_how_names_are_written(written: str, name: str) -> None:
    """As browsers do (HTML, "multipart/form-data encoding algorithm"), or as a quoted string if it is none of that."""
    assert form_of(named(f"name={written}") + END).fields == {name: ["x"]}
    assert form_of(named(f"x=y;NAME={written} ; ") + END).fields == {name: ["x"]}


@pytest.mark.parametrize(
    "written, filename",
    [
        *(("b.txt", "b.txt"), ("ä b;c.txt", "ä b;c.txt"), (".profile", ".profile"), ("...", "..."), ("C:b", "C:b")),
        *((r"C:\dir\b.txt", "b.txt"), (r"\\server\share\b.txt", "b.txt"), ("/etc/passwd", "passwd")),
        *(("../../b", "b"), (r"..\b", "b"), ("dir/sub/b.jpg", "b.jpg"), ("dir/", ""), ("dir\\", ""), (r"a\\b", "b")),
        *((r"a\"b", 'a"b'), (r"a/\"b", '"b'), ("%2Fb", "%2Fb")),
    ],
)
def test_a_filename_has_no_directories(written: str, filename: str) -> None:  # RFC 7578 §4.2
    assert only_file(upload(filename=written) + END)["filename"] == filename


@pytest.mark.parametrize("written", [".", "..", "a/..", r"C:\.."])
def test_a_filename_that_is_a_directory_is_refused(written: str) -> None:
    assert status_of(upload(filename=written) + END) == 400


def test_a_part_is_a_file_if_it_has_a_filename() -> None:
    form = form_of(
        *(upload(b"", ""), upload(b"1", ""), upload(b"", "b"), upload(b"2", "c", name="")),
        *(part(b"3", NAMED, b"Content-Type: image/png"), named("name=\"a\"; filename*=utf-8''x", b"4"), END),
    )
    fields, files = taken(form)
    assert fields == {"a": ["3", "4"]}  # RFC 7578 §4.2: filename* is not to be used
    assert files == {"a": [("", "text/plain", b"1"), ("b", "text/plain", b"")], "": [("c", "text/plain", b"2")]}
    assert taken(form_of(named("name=a; filename*=utf-8''x; filename=b") + END))[1]["a"][0][0] == "b"


@pytest.mark.parametrize(
    "content_type, content, charset, wanted",
    [
        (b"text/plain", "ä".encode(), "utf-8", "ä"),
        (b"text/plain", b"\xe4", "utf-8", "\ufffd"),
        (b"text/plain", b"\xe4", "latin-1", "ä"),
        (b"text/plain;charset=iso-8859-1", b"\xe4", "utf-8", "ä"),  # RFC 7578 §4.5
        (b'text/plain; charset="UTF-8"', "ä".encode(), "latin-1", "ä"),
        (b"text/plain; charset=zip", "ä".encode(), "utf-8", "ä"),
        (b"text/plain; charset", "ä".encode(), "no-such", "ä"),
        (b";;;", "ä".encode(), "base64", "ä"),
    ],
)
def test_the_charset_of_a_field(content_type: bytes, content: bytes, charset: str, wanted: str) -> None:
    body = part(content, NAMED, b"Content-Type: " + content_type) + END
    assert form_of(body, charset=charset).fields == {"a": [wanted]}


def test_a_nested_form_is_content() -> None:  # RFC 7578 §4.3: multipart/mixed is deprecated
    inner = b'--C\r\nContent-Disposition: file; filename="a"\r\n\r\nx\r\n--C--\r\n'
    nested = (b"Content-Type: multipart/mixed; boundary=C",)
    assert form_of(part(inner, NAMED, *nested) + END).fields == {"a": [inner.decode()]}
    assert only_file(part(inner, NAMED + b"; filename=b", *nested) + END)["body"] == inner


@pytest.mark.parametrize("encoding", [b"7bit", b"8BIT", b"binary"])
def test_transfer_encodings_that_change_nothing_are_taken(encoding: bytes) -> None:
    assert form_of(part(b"x", NAMED, b"Content-Transfer-Encoding: " + encoding) + END).fields == {"a": ["x"]}


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"x", b""])
def test_other_transfer_encodings_are_refused(encoding: bytes) -> None:  # RFC 7578 §4.7; RFC 9110 §15.5.16
    assert status_of(part(b"x", NAMED, b"Content-Transfer-Encoding: " + encoding) + END) == 415


# -- multipart forms: what they may take --------------------------------------------------------------------------


def test_fields_are_counted() -> None:
    limits = Limits(form_fields=3)
    assert form_of(part() * 3 + upload() * 2 + END, limits=limits).fields == {"a": ["x"] * 3}
    assert status_of(part() * 2 + upload() + part() * 2, limits=limits) == 413


def test_parts_are_counted() -> None:
    limits = Limits(multipart_parts=3)
    assert len(form_of(upload() * 2 + part() + END, limits=limits).files["a"]) == 2
    assert status_of(upload() * 2 + part() * 2, limits=limits) == 413
    assert status_of(upload(b"", "") * 4, limits=limits) == 413


def test_fields_are_measured() -> None:
    limits = Limits(form_memory=10)
    assert form_of(part(b"12345") * 2 + upload(b"x" * 99) + END, limits=limits).fields == {"a": ["12345"] * 2}
    assert status_of(part(b"12345") * 2 + part(b"6"), limits=limits) == 413
    assert status_of(b"--BB\r\n" + NAMED + b"\r\n\r\n", b"x" * 20, limits=limits) == 413  # before the end


def test_the_headers_of_a_part_are_measured() -> None:  # RFC 6585 §5
    limits = Limits(part_headers=100)
    section = NAMED + b"\r\nX: " + b"y" * (100 - len(NAMED) - 7)
    assert len(section + b"\r\n") == 100
    assert form_of(part(b"x", section) + END, limits=limits).fields == {"a": ["x"]}
    assert status_of(part(b"x", section + b"y"), limits=limits) == 431
    assert status_of(b"--BB\r\n" + b"y" * 1000, limits=limits) == 431
    assert status_of(b"--BB\r\nX: y", *[b"y" * 50] * 10, limits=limits) == 431
    assert status_of(b"--BB\r\n" + NAMED + b"\r\nX: y\r\n" + b" y\r\n" * 1000, limits=limits) == 431


def test_the_headers_of_a_part_are_counted() -> None:
    assert form_of(part(b"x", NAMED, *[b"X: y"] * 15) + END).fields == {"a": ["x"]}
    assert status_of(part(b"x", NAMED, *[b"X: y"] * 16)) == 431


def test_the_headers_of_all_parts_are_measured() -> None:
    limits = Limits(part_headers=100)
    section = NAMED + b"\r\nX: " + b"y" * (100 - len(NAMED) - 7)
    assert len(form_of(part(b"x", section) * 128 + END, limits=limits).fields["a"]) == 128
    assert status_of(part(b"x", section) * 129, limits=limits) == 431


@pytest.mark.parametrize("piece", [b"x" * 65536, b"\r\n--B" * 13107, b"\r" * 65536])
def test_a_large_file_takes_no_memory(piece: bytes) -> None:
    form = MultipartForm(b"BB", LIMITS)
    form.feed(upload(filename="big")[:-3])
    tracemalloc.start()
    for _ in range(1024):  # 64 MiB
        form.feed(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    form.feed(b"\r\n" + END)
    form.finish()
    assert peak < 4 << 20
    file = form.files["a"][0]["file"]
    assert file.seek(0, io.SEEK_END) == 1024 * len(piece)
    file.seek(-len(piece), io.SEEK_CUR)
    assert file.read() == piece
    form.close()


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_many_files_take_little_memory_and_one_descriptor() -> None:
    content = b"x" * 100_000
    form = MultipartForm(b"BB", LIMITS)
    before = descriptors()
    tracemalloc.start()
    for number in range(1000):
        form.feed(upload(content, filename=str(number)))
    form.feed(END)
    form.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    files = form.files["a"]
    assert [file["filename"] for file in files] == [str(number) for number in range(1000)]
    assert all(file["file"].read() == content for file in files)
    assert descriptors() <= before + 1
    form.close()
    assert descriptors() == before


def test_preamble_and_epilogue_take_no_memory() -> None:
    form = MultipartForm(b"BB", LIMITS)
    tracemalloc.start()
    for piece in (b"x" * 65536, b"\r\n--B" * 13107):
        for _ in range(50):
            form.feed(piece)
    form.feed(b"\r\n" + part() + END)
    for _ in range(50):
        form.feed(b"x" * 65536)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    form.finish()
    assert taken(form) == ({"a": ["x"]}, {})


def test_small_files_stay_in_memory() -> None:
    before = descriptors()
    form = form_of(upload(b"x" * 1000) * 100 + END)
    assert descriptors() == before
    form.close()


@pytest.mark.parametrize("spool_size", [1, 10_000_000])
def test_a_closed_form_has_let_go_of_its_files(spool_size: int) -> None:
    before = descriptors()
    form = MultipartForm(b"BB", Limits(spool_size=spool_size))
    form.feed(upload(b"whole") + upload(b"half")[:-3])  # the connection dies here
    files = form.files["a"]
    read = files[0]["file"]
    form.close()
    form.close()
    assert descriptors() == before
    for use in (read.read, lambda: files[0]["body"]):
        if spool_size > 100:  # it was in memory, and stays there
            assert use()
        else:
            with pytest.raises(RuntimeError, match="removed"):
                use()


def test_nothing_is_taken_after_the_end() -> None:
    form = form_of(part() + END)
    with pytest.raises(Refused):
        form.feed(b"x")


# -- files --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 1 << 20], ids=["on disk", "in memory"])
def uploaded(request: pytest.FixtureRequest) -> Any:
    body = (
        upload(b"before")
        + part(b"one\r\ntwo", NAMED + b"; filename=n.csv", b"Content-Type: text/csv; charset=x")
        + upload(b"after")
    )
    form = form_of(body + END, limits=Limits(spool_size=request.param))
    yield form.files["a"][1]
    form.close()


WANTED = {"filename": "n.csv", "content_type": "text/csv; charset=x", "body": b"one\r\ntwo"}


def test_a_file_is_a_dictionary(uploaded: UploadedFile) -> None:  # manual: "files"
    assert isinstance(uploaded, dict)
    assert {"filename", "content_type", "body", "file", "headers"} == set(uploaded) == set(uploaded.keys())
    assert len(uploaded) == 5
    assert "body" in uploaded
    assert "size" not in uploaded
    assert "one" not in repr(uploaded)
    with pytest.raises(KeyError, match="size"):
        uploaded["size"]
    assert uploaded["headers"]["content-TYPE"] == "text/csv; charset=x"


@pytest.mark.parametrize(
    "read",
    [
        lambda file: {key: file[key] for key in file},
        lambda file: {key: file.get(key) for key in file},
        lambda file: dict(file),
        lambda file: {**file},
        lambda file: dict(file.items()),
        lambda file: dict(zip(file.keys(), file.values(), strict=True)),
        lambda file: file.copy(),
        lambda file: file | {},
        lambda file: {} | file,
        lambda file: {key: file.pop(key) for key in list(file)},
        lambda file: {key: file.setdefault(key, None) for key in file},
        lambda file: dict(file.popitem() for _ in range(len(file))),
    ],
)
def test_every_way_to_read_a_dictionary_gives_the_content(uploaded: UploadedFile, read: Any) -> None:
    found = read(uploaded)
    assert found.pop("file").read() == b"one\r\ntwo"
    assert found.pop("headers")["content-type"] == "text/csv; charset=x"
    assert found == WANTED


def test_a_file_is_equal_to_a_dictionary_of_the_same(uploaded: UploadedFile) -> None:
    same = {**WANTED, "file": uploaded["file"], "headers": uploaded["headers"]}
    assert uploaded == same
    assert same == uploaded
    assert not uploaded != same  # noqa: SIM202
    assert uploaded != WANTED
    assert uploaded != 5
    with pytest.raises(TypeError):
        hash(uploaded)


def test_the_content_is_read_once_and_may_be_replaced(uploaded: UploadedFile) -> None:
    assert uploaded["body"] is uploaded["body"]
    assert uploaded["file"] is uploaded["file"]
    assert uploaded.get("size") is None
    assert uploaded.get("size", 1) == 1
    uploaded["body"] = b"other"
    assert uploaded["body"] == b"other"
    del uploaded["body"]
    assert "body" not in uploaded


def test_the_body_leaves_the_position_of_the_file(uploaded: UploadedFile) -> None:
    file = uploaded["file"]
    assert file.read(2) == b"on"
    assert uploaded["body"] == b"one\r\ntwo"
    assert file.tell() == 2
    assert file.read() == b"e\r\ntwo"


def test_the_file_is_a_binary_file(uploaded: UploadedFile) -> None:
    file = uploaded["file"]
    assert file.readable()
    assert file.seekable()
    assert not file.writable()
    assert file.readlines() == [b"one\r\n", b"two"]
    assert file.read() == b""
    assert file.seek(100) == 100
    assert file.read() == file.read(1) == b""
    assert file.seek(-3, io.SEEK_END) == 5
    assert file.seek(-1, io.SEEK_CUR) == 4
    assert file.read(2) == b"\nt"
    with pytest.raises((ValueError, OSError)):
        file.seek(-1)
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    with pytest.raises(io.UnsupportedOperation):  # it is not a file of its own
        file.fileno()
    file.seek(0)
    assert list(csv.reader(io.TextIOWrapper(file, "ascii"))) == [["one"], ["two"]]
    assert uploaded["body"] == b"one\r\ntwo"  # though the wrapper has closed it


def test_a_file_cannot_be_read_beyond_its_ends(uploaded: UploadedFile) -> None:
    raw = uploaded["file"].raw
    with pytest.raises(ValueError, match="0 or more"):
        raw.seek(-1)
    assert raw.readall() == b"one\r\ntwo"
    assert raw.read(1) == b""


# -- the fuzz target ----------------------------------------------------------------------------------------------


def test_fuzz_target() -> None:
    path = Path(__file__).parents[2] / "fuzz" / "fuzz_multipart.py"
    spec = importlib.util.spec_from_file_location("fuzz_multipart", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fuzz(300)
