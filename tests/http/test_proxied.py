"""A server behind proxies (manual: "Using HTTPServer Behind a Proxy"): whom a handler takes the client to be.

The rules themselves, by which the headers are read, are tested in test_forwarded.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme

from pants import Stream
from pants.http import HTTPRequest, HTTPServer
from pants.testing import run_until
from tests.core.support import client_of
from tests.http.support import CHUNKED, get, post, site, take_apart

PROXY = ("10.0.0.1", 40000)
OTHER = ("198.51.100.1", 40000)
CLIENT = "203.0.113.9"

REAL_IP = b"X-Real-IP: 203.0.113.9"
FOR = b"X-Forwarded-For: 203.0.113.9"
PROTO = b"X-Forwarded-Proto: https"
HOST = b"X-Forwarded-Host: Example.org:8443"
FORWARDED = b'Forwarded: for=203.0.113.9;proto=https;host="Example.org:8443"'

Told = tuple[str, str, bool, str, str, str]


def told(request: HTTPRequest) -> Told:
    """All that a proxy may have changed."""
    return (
        *(request.remote_ip, request.scheme, request.is_secure),
        *(request.host, request.hostname, request.full_url),
    )


def ask(*fields: bytes, address: Any = PROXY, line: bytes = b"GET /a?b HTTP/1.1", **kwargs: Any) -> Told:
    """What a handler is told of a request that comes from an address."""
    with site(**kwargs) as web:
        web.engine.accept(web.server, remote_address=address).send(get(*fields, line=line))
        [request] = web.requests
        return told(request)


BEHIND = (CLIENT, "https", True, "Example.org:8443", "example.org", "https://Example.org:8443/a?b")
DIRECT = ("10.0.0.1", "http", False, "a", "a", "http://a/a?b")


# --- xheaders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [(FOR, PROTO, HOST), (REAL_IP, PROTO, HOST), (FORWARDED,), (FORWARDED, FOR, REAL_IP)]
)
def test_what_a_proxy_says_is_what_a_handler_is_told(fields: tuple[bytes, ...]) -> None:
    """Manual: "xheaders": to set the HTTPRequest's remote_ip and scheme; RFC 7239 §4 for Forwarded."""
    assert ask(*fields, xheaders=True) == BEHIND


@pytest.mark.parametrize(
    "field, expected",
    [
        (REAL_IP, (CLIENT, *DIRECT[1:])),
        (FOR, (CLIENT, *DIRECT[1:])),
        (b"X-Forwarded-For: 2001:db8::9", ("2001:db8::9", *DIRECT[1:])),
        (PROTO, ("10.0.0.1", "https", True, "a", "a", "https://a/a?b")),
        (HOST, ("10.0.0.1", "http", False, "Example.org:8443", "example.org", "http://Example.org:8443/a?b")),
        (
            b"X-Forwarded-Host: [2001:DB8::9]:81",
            (*DIRECT[:3], "[2001:DB8::9]:81", "2001:db8::9", "http://[2001:DB8::9]:81/a?b"),
        ),
        (b"Forwarded: for=203.0.113.9", (CLIENT, *DIRECT[1:])),
        (b"X-Forwarded-Ssl: on", DIRECT),
        (b"X-Forwarded-Port: 443", DIRECT),
        (b"X-Client-IP: 203.0.113.9", DIRECT),
    ],
)
@pytest.mark.parametrize("xheaders", [False, True])
def test_each_header_changes_what_it_speaks_of(field: bytes, expected: Told, xheaders: bool) -> None:
    assert ask(field, xheaders=xheaders) == (expected if xheaders else DIRECT)


def test_without_headers_of_a_proxy_it_is_the_connection_that_counts() -> None:
    """Manual: the headers are used "if they exist"."""
    assert ask(xheaders=True) == DIRECT


@pytest.mark.parametrize(
    "xheaders, expected",
    [
        (["X-Forwarded-For"], (CLIENT, *DIRECT[1:])),
        (["x-real-ip"], ("203.0.113.8", *DIRECT[1:])),
        (("X-Forwarded-Proto",), ("10.0.0.1", "https", True, "a", "a", "https://a/a?b")),
        ({"X-Forwarded-For", "X-FORWARDED-PROTO"}, (CLIENT, "https", True, "a", "a", "https://a/a?b")),
        (iter(["Forwarded"]), ("203.0.113.7", "http", False, "b", "b", "http://b/a?b")),
        ([], DIRECT),
    ],
)
def test_the_headers_can_be_named(xheaders: Any, expected: Told) -> None:
    """`HTTPServer`: xheaders: or the names of those that the proxy sets, which is safer."""
    fields = (FOR, b"X-Real-IP: 203.0.113.8", PROTO, HOST, b"Forwarded: for=203.0.113.7;host=b")
    assert ask(*fields, xheaders=xheaders) == expected


@pytest.mark.parametrize(
    "kwargs, error",
    [
        ({"xheaders": "X-Real-IP"}, TypeError),
        ({"xheaders": ["X-Whatever"]}, ValueError),
        ({"xheaders": True, "trusted_proxies": "10.0.0.1"}, TypeError),
        ({"xheaders": True, "trusted_proxies": ["10.0.0.0/33"]}, ValueError),
        ({"xheaders": True, "trusted_proxies": ["proxy.example"]}, ValueError),
        ({"trusted_proxies": "10.0.0.1"}, TypeError),
        ({"trusted_proxies": ["proxy.example"]}, ValueError),
        ({"proxy_protocol": True, "trusted_proxies": "10.0.0.1"}, TypeError),
        ({"proxy_protocol": True, "trusted_proxies": ["proxy.example"]}, ValueError),
        ({"proxy_protocol": "10.0.0.1"}, TypeError),
    ],
)
def test_wrong_arguments_raise_at_the_call(kwargs: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        HTTPServer(lambda request: None, **kwargs)


@pytest.mark.parametrize(
    "line, host, url",
    [
        (b"GET http://b:81/c HTTP/1.1", "b:81", "http://b:81/c"),
        (b"OPTIONS * HTTP/1.1", "a", "http://a"),
        (b"GET / HTTP/1.0", "a", "http://a/"),
    ],
)
def test_other_forms_of_the_target(line: bytes, host: str, url: str) -> None:
    """What nobody speaks of is as without a proxy, and what a proxy speaks of comes before the target."""
    assert ask(FOR, line=line, xheaders=True) == (CLIENT, "http", False, host, host[:1], url)
    behind = url.replace(f"http://{host}", "https://Example.org:8443")
    assert ask(FOR, PROTO, HOST, line=line, xheaders=True) == (*BEHIND[:5], behind)


@pytest.mark.parametrize("data", [post(b"abc", FOR, b"Content-Length: 3"), post(b"0\r\n\r\n", FOR, CHUNKED)])
def test_requests_with_bodies(data: bytes) -> None:
    """Those in head_handler are told the same."""
    early: list[str] = []
    with site(xheaders=True, head_handler=lambda request: early.append(request.remote_ip)) as web:
        web.ask(data)
        assert early == [web.requests[0].remote_ip] == [CLIENT]


def test_each_request_of_a_connection_has_a_client_of_its_own() -> None:
    """A proxy sends requests of many clients by one connection."""
    with site(xheaders=True) as web:
        peer = web.connect()
        for number in (1, 2, 2, 3):
            peer.send(get(b"X-Forwarded-For: 203.0.113.%d" % number))
        peer.send(get())
        peer.send(b"".join(get(b"X-Forwarded-For: 203.0.113.%d" % number) for number in (4, 5)) + get())
        ips = [request.remote_ip.removeprefix("203.0.113.") for request in web.requests]
        assert ips == ["1", "2", "2", "3", "192.0.2.1", "4", "5", "192.0.2.1"]


@pytest.mark.parametrize(
    "fields",
    [
        (b"X-Forwarded-For: unknown",),
        (b"X-Forwarded-For:",),
        (b"X-Forwarded-For: <script>",),
        (b"X-Real-IP: 999.1.1.1",),
        (b"X-Forwarded-Proto: gopher",),
        (b"X-Forwarded-Host: a/../b",),
        (b"X-Forwarded-Host: user@b",),
        (b"X-Forwarded-Host: b c",),
        (b"Forwarded: for=_hidden",),
        (b"Forwarded: for=203.0.113.9, for=\x22",),
    ],
)
def test_what_is_malformed_changes_nothing(fields: tuple[bytes, ...]) -> None:
    """It may end up in pages and in logs; and it is no reason to refuse the request."""
    assert ask(*fields, xheaders=True) == DIRECT


def test_the_headers_themselves_stay_as_they_came() -> None:
    with site(xheaders=True) as web:
        web.ask(get(FOR, HOST, PROTO))
        [request] = web.requests
        assert request.headers["Host"] == "a"
        assert request.headers["X-Forwarded-For"] == CLIENT


# --- Whom to trust ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trusted, address, believed",
    [
        (["10.0.0.1"], PROXY, True),
        (["10.0.0.0/8"], PROXY, True),
        ([ipaddress.ip_network("10.0.0.0/8")], PROXY, True),
        (["192.0.2.0/24", "10.0.0.1"], PROXY, True),
        (["10.0.0.2"], PROXY, False),
        (["unix"], PROXY, False),
        ([], PROXY, False),
        (["10.0.0.0/8"], OTHER, False),
        (["::1"], ("::1", 1, 0, 0), True),
        (["2001:db8::/32"], ("2001:db8::7", 1, 0, 0), True),
        (["2001:db8::/32"], ("2001:db9::7", 1, 0, 0), False),
        (["10.0.0.0/8"], ("::ffff:10.0.0.1", 1, 0, 0), True),
        (["unix"], "", True),
        (["unix"], "/run/proxy", True),
        (["10.0.0.0/8"], "", False),
        (["0.0.0.0/0", "::/0"], "", False),
    ],
)
def test_trusted_proxies(trusted: list[Any], address: Any, believed: bool) -> None:
    """`HTTPServer`: trusted_proxies: only their word counts."""
    ip = "" if isinstance(address, str) else address[0]
    result = ask(FOR, PROTO, HOST, address=address, xheaders=True, trusted_proxies=trusted)
    assert result == (BEHIND if believed else (ip, *DIRECT[1:]))


@pytest.mark.parametrize(
    "field",
    [
        b"X-Forwarded-For: 6.6.6.6, 203.0.113.9",
        b"X-Forwarded-For: 6.6.6.6, 7.7.7.7, 203.0.113.9",
        b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9",
        b"X-Forwarded-For: 10.0.0.7, 203.0.113.9",
        b"X-Forwarded-For: unknown, 203.0.113.9",
        b'X-Forwarded-For: ", 203.0.113.9',
        b"x-forwarded-for: 6.6.6.6,203.0.113.9",
        b"Forwarded: for=6.6.6.6, for=203.0.113.9",
        b"Forwarded: for=6.6.6.6\r\nForwarded: for=203.0.113.9",
        b"Forwarded: for=6.6.6.6;host=evil, for=203.0.113.9",
        b'Forwarded: for="6.6.6.6, for=203.0.113.9',
    ],
)
@pytest.mark.parametrize("trusted", [None, ["10.0.0.0/8"]])
def test_what_the_client_has_put_there_itself(field: bytes, trusted: Any) -> None:
    """A proxy adds what it sees at the end (RFC 7239 §4, §8.1); whatever stands before it is the client's word."""
    assert ask(field, xheaders=True, trusted_proxies=trusted) == (CLIENT, *DIRECT[1:])


@pytest.mark.parametrize(
    "value",
    [
        b"6.6.6.6, 203.0.113.9, 10.0.0.7",
        b"203.0.113.9, 10.0.0.7, 10.9.9.9",
        b"6.6.6.6, 203.0.113.9:1234, 10.0.0.7:80",
        b"10.0.0.5, 203.0.113.9, 10.0.0.7",
    ],
)
def test_several_proxies(value: bytes) -> None:
    """The client is the last one that is no proxy of ours."""
    assert ask(b"X-Forwarded-For: " + value, xheaders=True, trusted_proxies=["10.0.0.0/8"])[0] == CLIENT


def test_a_client_behind_no_proxy_says_what_it_likes_in_vain() -> None:
    """It is the case that makes trusted_proxies worth naming."""
    spoofed = (b"X-Forwarded-For: 127.0.0.1", b"X-Real-IP: 127.0.0.1", PROTO, HOST, b"Forwarded: for=127.0.0.1")
    result = ask(*spoofed, address=OTHER, xheaders=True, trusted_proxies=["10.0.0.0/8"])
    assert result == (OTHER[0], *DIRECT[1:])


def test_a_header_that_the_proxy_does_not_set_is_not_believed_where_others_are_named() -> None:
    spoofed = (FOR, b"X-Real-IP: 127.0.0.1", b"Forwarded: for=127.0.0.1;proto=https;host=evil", PROTO, HOST)
    result = ask(*spoofed, xheaders=["X-Forwarded-For"], trusted_proxies=["10.0.0.1"])
    assert result == (CLIENT, *DIRECT[1:])


# --- The PROXY protocol -----------------------------------------------------------------------------------------

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_1(source: str = CLIENT, destination: str = "192.0.2.80") -> bytes:
    """haproxy's "The PROXY protocol" §2.1."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} 51234 443\r\n".encode()


def version_2(source: str = CLIENT, destination: str = "192.0.2.80", command: int = 1) -> bytes:
    """The same, §2.2."""
    family = 0x21 if ":" in source else 0x11
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    block = addresses + (51234).to_bytes(2, "big") + (443).to_bytes(2, "big")
    return SIGNATURE + bytes([0x20 | command, family]) + len(block).to_bytes(2, "big") + block


HEADERS = {
    "version 1": (version_1(), CLIENT),
    "version 2": (version_2(), CLIENT),
    "version 1, IPv6": (version_1("2001:db8::9", "2001:db8::80"), "2001:db8::9"),
    "version 2, IPv6": (version_2("2001:db8::9", "2001:db8::80"), "2001:db8::9"),
    "version 1, unknown": (b"PROXY UNKNOWN\r\n", ""),
    "version 2, of its own": (version_2(command=0), ""),
}

any_header = pytest.mark.parametrize("name", HEADERS)


@any_header
@pytest.mark.parametrize("cut", [None, 1])
def test_a_header_before_the_request(name: str, cut: int | None) -> None:
    """`HTTPServer`: proxy_protocol: each connection begins with a header which tells the client's address."""
    header, ip = HEADERS[name]
    with site(proxy_protocol=True) as web:
        peer = web.engine.accept(web.server, remote_address=PROXY)
        peer.send(header + get() + get(line=b"GET /2 HTTP/1.1"), cut)
        assert [answer.status for answer in take_apart(peer.received)] == [200, 200]
        assert [request.remote_ip for request in web.requests] == [ip or PROXY[0]] * 2
        assert [(request.host, request.scheme) for request in web.requests] == [("a", "http")] * 2


@any_header
def test_a_header_over_a_real_socket(name: str) -> None:
    header, ip = HEADERS[name]
    requests: list[HTTPRequest] = []

    def handler(request: HTTPRequest) -> None:
        requests.append(request)
        request.send_response(request.remote_ip)

    server = HTTPServer(handler, proxy_protocol=True).listen(("127.0.0.1", 0))
    with client_of(server) as client:
        client.send(header + get(b"Connection: close"))
        assert [answer.content.decode() for answer in take_apart(client.receive_to_end())] == [ip or "127.0.0.1"]
    connection = requests[0].connection
    if ip:
        assert connection.remote_address[:2] == (ip, 51234)
        assert connection.local_address[1] == 443
    server.close()
    run_until(lambda: server.closed)


def test_a_connection_without_a_header(expect_log: Callable[[str], None]) -> None:
    """§2: a receiver must not guess whether there is one. Else a client could just leave it out, or bring its own."""
    expect_log("there is no PROXY header")
    with site(proxy_protocol=True) as web:
        peer = web.connect()
        peer.send(get())
        assert peer.ended or peer.was_reset
        assert not web.requests
        assert peer.received == b""


def test_a_header_where_none_is_expected() -> None:
    """It is a malformed request then, and its address goes for nothing."""
    with site() as web:
        peer = web.connect()
        peer.send(version_1() + get())
        assert [answer.status for answer in take_apart(peer.received)] in ([400], [501], [505])
        assert not web.requests


def test_a_second_header() -> None:
    """The first is the proxy's, the second what the client has sent through it."""
    with site(proxy_protocol=True) as web:
        peer = web.connect()
        peer.send(version_1() + version_1("127.0.0.1") + get())
        assert [answer.status for answer in take_apart(peer.received)] in ([400], [501], [505])
        assert not web.requests


@pytest.mark.parametrize(
    "trusted, address, accepted",
    [
        (None, OTHER, True),
        (["10.0.0.0/8"], PROXY, True),
        (["10.0.0.0/8"], OTHER, False),
        (["unix"], "", True),
        (["10.0.0.0/8"], "", False),
        (["unix"], PROXY, False),
    ],
)
def test_trusted_proxies_with_the_proxy_protocol(
    trusted: Any, address: Any, accepted: bool, expect_log: Callable[[str], None]
) -> None:
    """`HTTPServer`: trusted_proxies: only their word counts, with xheaders and proxy_protocol."""
    if not accepted:
        expect_log("closes the connection")
    with site(proxy_protocol=True, trusted_proxies=trusted) as web:
        peer = web.engine.accept(web.server, remote_address=address)
        if accepted:
            peer.send(version_1() + get())
            assert [request.remote_ip for request in web.requests] == [CLIENT]
        else:
            assert peer.ended
            assert not web.server.channels


@pytest.mark.parametrize(
    "proxies, address, ended",
    [(["10.0.0.0/8"], OTHER, True), (["10.0.0.0/8"], PROXY, False)],
)
def test_a_list_of_proxies_is_not_taken_for_everybody(
    proxies: list[str], address: Any, ended: bool, expect_log: Callable[[str], None]
) -> None:
    """`pants.Server` takes a list as proxy_protocol. Here it is honoured too, or refused; never is it simply true."""
    try:
        HTTPServer(lambda request: None, proxy_protocol=proxies)  # type: ignore[arg-type]
    except TypeError:
        return
    if ended:
        expect_log("closes the connection")
    with site(proxy_protocol=proxies) as web:
        assert web.engine.accept(web.server, remote_address=address).ended is ended


def test_headers_of_a_second_proxy_behind_the_first() -> None:
    """A load balancer tells of a web proxy, which tells of the client: each is asked whether it is trusted."""
    trusted = ["10.0.0.0/8"]
    for first, expected in [("10.1.1.1", CLIENT), ("198.51.100.7", "198.51.100.7")]:
        with site(proxy_protocol=True, xheaders=True, trusted_proxies=trusted) as web:
            peer = web.engine.accept(web.server, remote_address=PROXY)
            peer.send(version_1(first) + get(FOR, PROTO))
            [request] = web.requests
            assert request.remote_ip == expected
            assert request.is_secure is (expected == CLIENT)


def test_headers_of_a_client_behind_a_proxy_that_is_trusted_blindly() -> None:
    """Without trusted_proxies, xheaders believes whoever speaks: that is the manual's, and why there are names."""
    with site(proxy_protocol=True, xheaders=["X-Forwarded-Proto"]) as web:
        peer = web.engine.accept(web.server, remote_address=PROXY)
        peer.send(version_1() + get(b"X-Forwarded-For: 6.6.6.6", PROTO))
        assert told(web.requests[0])[:3] == (CLIENT, "https", True)


@pytest.mark.parametrize("header", [version_1(), version_2()])
def test_a_header_and_tls(header: bytes) -> None:
    """§2: the header precedes everything, the handshake of TLS included."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    seen: list[Told] = []
    received: list[bytes] = []

    def handler(request: HTTPRequest) -> None:
        seen.append(told(request))
        request.send_response("secure")

    server = HTTPServer(handler, proxy_protocol=True, ssl_options=context).listen(("127.0.0.1", 0))

    class Client(Stream):
        secured = False

        def on_connect(self) -> None:
            if not self.secured:
                self.secured = True
                self.write(header, flush=True)
                self.startSSL({"ca_certs": str(certificate), "server_hostname": "localhost"})

        def on_ssl_handshake(self, *_: Any) -> None:
            self.write(get(b"Connection: close"))

        def on_read(self, data: bytes) -> None:
            received.append(data)

    with authority.cert_pem.tempfile() as certificate:
        client = Client().connect(server.local_address)
        run_until(lambda: client.closed)
    assert [answer.content for answer in take_apart(b"".join(received))] == [b"secure"]
    assert seen == [(CLIENT, "https", True, "a", "a", "https://a/")]
    server.close()
    run_until(lambda: server.closed)


# --- Real proxies and clients -----------------------------------------------------------------------------------


def run(*command: Any) -> bytes:
    """Run a program to its end, while the server serves it; what it wrote to its output."""
    with ThreadPoolExecutor() as pool:
        future = pool.submit(subprocess.run, [str(part) for part in command], capture_output=True, timeout=30)
        run_until(future.done, 30)
        done = future.result()
    assert done.returncode == 0, done
    return bytes(done.stdout)


def answer_told(request: HTTPRequest) -> None:
    request.send_response(f"{request.remote_ip} {request.connection.remote_address[1]} {request.full_url}")


def test_curl(peer: Callable[[str], str]) -> None:
    """curl's --haproxy-protocol tells its own address."""
    server = HTTPServer(answer_told, proxy_protocol=True).listen(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.local_address[1]}/a"
    output = run(peer("curl"), "-sS", "--fail", "--haproxy-protocol", "--write-out", " %{local_port}", url)
    ip, port, told_url, own_port = output.decode().split(" ")
    assert (ip, port, told_url) == ("127.0.0.1", own_port, url)
    server.close()
    run_until(lambda: server.closed)


NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen unix:{folder}/front;
        location / {{
            proxy_pass http://unix:{folder}/back:;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For "$proxy_add_x_forwarded_for, 203.0.113.9";
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-Host example.org:8443;
        }}
    }}
}}
"""


def test_nginx_in_front(peer: Callable[[str], str], tmp_path: Any) -> None:
    """What nginx sets replaces what the client has sent; what it adds to comes last."""
    server = HTTPServer(
        lambda request: request.send_response(f"{request.remote_ip} {request.full_url}"),
        xheaders=["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"],
        trusted_proxies=["unix"],
    ).listen(str(tmp_path / "back"))
    (tmp_path / "conf").write_text(NGINX.format(folder=tmp_path))
    program = peer("nginx")
    command = [program, "-e", str(tmp_path / "error.log"), "-c", str(tmp_path / "conf"), "-p", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        run_until(lambda: _accepts(str(tmp_path / "front")) or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        spoofed = ("-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: gopher", "-H", "X-Real-IP: 6.6.6.6")
        curl = (peer("curl"), "-sS", "--fail", "--unix-socket", tmp_path / "front", *spoofed)
        assert run(*curl, "http://evil.example/a?b") == b"203.0.113.9 https://example.org:8443/a?b"
    finally:
        process.terminate()
        process.wait(30)
        server.close()
        run_until(lambda: server.closed)


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
        return True
