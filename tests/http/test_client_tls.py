"""The HTTP client and TLS: what it verifies, what it tells of itself, `on_ssl_error`, and handshakes that fail."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pants.http import HTTPClient
from pants.http.client import (
    CertificateError,
    ConnectionFailed,
    HTTPClientException,
    HTTPResponse,
    RequestCancelled,
    RequestClosed,
    RequestTimedOut,
)
from tests.http.client_support import client_of
from tests.http.peers_support import DEADLINE
from tests.http.rogue_support import Caller, RogueServer, head, replying
from tests.http.ws_client_support import Certificates, certificates, proxying, relay, status

OK: Final = status("200 OK", content=b"spam")
CLOSED: Final = status("200 OK", "Connection: close", content=b"spam")

# OpenSSL's numbers (X509_V_ERR_...).
EXPIRED, SELF_SIGNED, SELF_SIGNED_IN_CHAIN, NO_ISSUER, WRONG_NAME, WRONG_ADDRESS = 10, 18, 19, 20, 62, 64


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return certificates()


class Asked:
    """A hook `on_ssl_error` that notes what it was called with, and when."""

    def __init__(self, answer: Any, server: RogueServer | None = None) -> None:
        self.answer = answer
        self.server = server
        self.calls: list[tuple[HTTPResponse, dict[str, Any], CertificateError]] = []
        self.accepted: list[int] = []

    def __call__(self, response: HTTPResponse, certificate: dict[str, Any], exception: CertificateError) -> Any:
        self.calls.append((response, certificate, exception))
        if self.server is not None:
            assert self.server.requests == []
            self.accepted.append(self.server.accepted)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def context_of(kind: str) -> ssl.SSLContext:
    context = getattr(certificates(), kind)
    assert isinstance(context, ssl.SSLContext)
    return context


KINDS: Final = {"expired": {EXPIRED}, "wrong_host": {WRONG_NAME, WRONG_ADDRESS}, "unknown": {NO_ISSUER}}


# --- Verification ---------------------------------------------------------------------------------------------------


def test_a_good_certificate(certs: Certificates) -> None:
    with (
        RogueServer(replying(OK), context=certs.good) as server,
        client_of(ssl_options={"ca_certs": certs.ca}) as client,
    ):
        response = client.get(server.url).wait(DEADLINE)
        assert (response.content, response.url) == (b"spam", server.url)
        named = f"https://localhost:{server.port}/"
        assert client.get(named).wait(DEADLINE).content == b"spam"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_bad_certificate(certs: Certificates, kind: str, host: str) -> None:
    told: list[tuple[HTTPResponse, Exception]] = []
    answers: list[HTTPResponse] = []
    begun: list[bool] = []

    def pieces() -> Iterator[bytes]:
        begun.append(True)
        yield b"secret"

    with (
        RogueServer(replying(OK), context=context_of(kind)) as server,
        client_of(
            answers.append, on_error=lambda *args: told.append(args), ssl_options={"ca_certs": certs.ca}
        ) as client,
    ):
        exchange = client.post(f"https://{host}:{server.port}/", data=pieces())
        with pytest.raises(CertificateError) as caught:
            exchange.wait(DEADLINE)
        assert not isinstance(caught.value, HTTPClientException)  # manual: "HTTPClientException"
        assert caught.value.verify_code in KINDS[kind]
        assert host in str(caught.value)
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        ((response, exception),) = told
        assert exception is caught.value is exchange.error
        assert response.status_code == 0
        assert response.request is exchange.request
    assert (answers, server.requests, begun) == ([], [], [])
    assert server.accepted == 1  # without on_ssl_error, nobody looks at the certificate


@pytest.mark.parametrize("kind", ["good", *KINDS])
def test_certificates_are_verified_by_default(kind: str) -> None:
    """Nobody said that the tests' authority is to be trusted."""
    with RogueServer(replying(OK), context=context_of(kind)) as server, client_of() as client:
        with pytest.raises(CertificateError):
            client.get(server.url).wait(DEADLINE)
        with pytest.raises(CertificateError):
            client.session().get(server.url).wait(DEADLINE)
    assert server.requests == []


def test_the_default_hook_logs_it(expect_log: Any) -> None:
    expect_log("not to be trusted")
    with RogueServer(replying(OK), context=context_of("unknown")) as server, client_of() as client:
        exchange = client.get(server.url)
        while not exchange.done:
            client.engine.poll(1)
        assert isinstance(exchange.error, CertificateError)


@pytest.mark.parametrize("kind", ["good", *KINDS])
def test_verification_turned_off(kind: str) -> None:
    with RogueServer(replying(OK), context=context_of(kind)) as server:
        with client_of(verify_ssl=False) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
            with client.session(timeout=20):
                assert client.get(server.url).wait(DEADLINE).content == b"spam"
            with client.session(verify_ssl=True), pytest.raises(CertificateError):
                client.get(server.url).wait(DEADLINE)
        with client_of() as client:
            assert client.get(server.url, verify_ssl=False).wait(DEADLINE).content == b"spam"
            # Neither that connection nor the setting is for others.
            with pytest.raises(CertificateError):
                client.get(server.url).wait(DEADLINE)
    assert len(server.requests) == 3


def test_ssl_options_of_a_request_and_a_session(certs: Certificates) -> None:
    trusting = {"ca_certs": certs.ca}
    with RogueServer(replying(OK), context=certs.good) as server, client_of() as client:
        assert client.get(server.url, ssl_options=trusting).wait(DEADLINE).content == b"spam"
        with pytest.raises(CertificateError):
            client.get(server.url).wait(DEADLINE)
        with client.session(ssl_options=trusting):
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        with pytest.raises(CertificateError):
            client.get(server.url).wait(DEADLINE)


def test_cert_reqs(certs: Certificates) -> None:
    with RogueServer(replying(OK), context=certs.unknown) as server, client_of() as client:
        options = {"cert_reqs": ssl.CERT_NONE}
        assert client.get(server.url, ssl_options=options).wait(DEADLINE).content == b"spam"
    with pytest.raises(ValueError, match="verify_ssl"):
        HTTPClient(verify_ssl=False, ssl_options={"cert_reqs": ssl.CERT_REQUIRED})


def test_a_context(certs: Certificates) -> None:
    with RogueServer(replying(OK), context=certs.good) as server:
        with client_of(ssl_options=certs.client_context()) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        with client_of(ssl_options=ssl.create_default_context()) as client, pytest.raises(CertificateError):
            client.get(server.url).wait(DEADLINE)
    with pytest.raises(ValueError, match="SSLContext"):
        HTTPClient(verify_ssl=False, ssl_options=certs.client_context())


def test_options_are_looked_at_when_they_are_given(certs: Certificates, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cafile"):
        HTTPClient(ssl_options={"cafile": certs.ca})
    with pytest.raises(TypeError, match=r"verify_ssl is True or False.*ca_certs"):
        HTTPClient(verify_ssl=certs.ca)
    with pytest.raises(OSError, match=r"missing\.pem"):
        HTTPClient(ssl_options={"ca_certs": str(tmp_path / "missing.pem")})
    client = HTTPClient()
    for options in ({"ca": 1}, "ca.pem", 1):
        with pytest.raises(TypeError):
            client.get("https://127.0.0.1:1/", ssl_options=options)
        with pytest.raises(TypeError):
            client.session(ssl_options=options)


# --- Certificates of the client -------------------------------------------------------------------------------------


def telling_peer(told: list[Any], answer: bytes = OK) -> Callable[[Caller], None]:
    def script(caller: Caller) -> None:
        assert isinstance(caller.sock, ssl.SSLSocket)
        caller.read_request()
        told.append(caller.sock.getpeercert())
        caller.send(answer)
        caller.read_rest()

    return script


def test_a_certificate_of_the_client(certs: Certificates) -> None:
    told: list[Any] = []
    with RogueServer(telling_peer(told), context=certs.trusting) as server:
        with client_of(ssl_options={"ca_certs": certs.ca, "certfile": certs.client}) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        context = certs.client_context()
        context.load_cert_chain(certs.client)
        with client_of(ssl_options=context) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
    assert [found["subjectAltName"] for found in told] == [(("email", "client@example.org"),)] * 2


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_and_gets_none(certs: Certificates, newest: ssl.TLSVersion) -> None:
    context = certs.client_context()
    context.maximum_version = newest
    with (
        RogueServer(telling_peer([]), context=certs.trusting) as server,
        client_of(ssl_options=context) as client,
        pytest.raises((RequestClosed, ConnectionFailed), match="alert"),
    ):
        client.post(server.url, data=b"secret").wait(DEADLINE)
    assert server.requests == []


def test_neither_certificate_nor_name_are_for_another_server() -> None:
    """To where a redirect leads the client does not say who it is."""
    authority = trustme.CA()
    contexts = []
    for _ in range(2):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "first.test").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        contexts.append(context)
    names = recorded_names(contexts[1])
    told: list[Any] = []
    with (
        authority.cert_pem.tempfile() as ca,
        authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.tempfile() as own,
        RogueServer(telling_peer(told), context=contexts[1]) as other,
        RogueServer(telling_peer(told, status("302 Found", f"Location: {other.url}")), context=contexts[0]) as server,
        client_of(ssl_options={"ca_certs": ca, "certfile": own, "server_hostname": "first.test"}) as client,
    ):
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
    assert [bool(found) for found in told] == [True, False]
    assert names == [None]


# --- What the client says in the handshake --------------------------------------------------------------------------


def recorded_names(context: ssl.SSLContext) -> list[Any]:
    """The names that clients ask for by SNI (RFC 6066 §3), None where they do not."""
    names: list[Any] = []
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    return names


def issued(authority: trustme.CA, *names: str, **kwargs: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **kwargs).configure_cert(context)
    return context


def test_the_name_of_the_server() -> None:
    """It is the one in the URL; addresses are not sent (RFC 6066 §3)."""
    authority = trustme.CA()
    context = issued(authority, "localhost", "127.0.0.1", "first.test")
    names = recorded_names(context)
    with (
        authority.cert_pem.tempfile() as ca,
        RogueServer(replying(CLOSED), context=context) as server,
        client_of(ssl_options={"ca_certs": ca}) as client,
    ):
        for url in (f"https://LocalHost:{server.port}/", server.url):
            # The Host field is not what the certificate is held against.
            assert client.get(url, headers={"X": "y"}).wait(DEADLINE).content == b"spam"
        options = {"ca_certs": ca, "server_hostname": "first.test"}
        assert client.get(server.url, ssl_options=options).wait(DEADLINE).content == b"spam"
        with pytest.raises(CertificateError) as caught:
            client.get(server.url, ssl_options={**options, "server_hostname": "other.test"}).wait(DEADLINE)
        assert caught.value.verify_code == WRONG_NAME
    assert names == ["localhost", None, "first.test", "other.test"]


@pytest.mark.parametrize(
    "host, name",
    [
        ("first.test", "first.test"),
        # (Dialling._proxy_answered sets _tls_host to it); without a proxy it goes without (RFC 6066 §3).
        ("FIRST.test.", "first.test"),
        ("b\xfccher.test", "xn--bcher-kva.test"),
        ("www.first.test", "www.first.test"),
    ],
)
def test_the_name_behind_a_proxy(host: str, name: str) -> None:
    authority = trustme.CA()
    context = issued(authority, "first.test", "xn--bcher-kva.test", "*.first.test")
    names = recorded_names(context)

    def script(caller: Caller) -> None:
        caller.read_head()
        relay(caller, server.port)

    with (
        authority.cert_pem.tempfile() as ca,
        RogueServer(replying(CLOSED), context=context) as server,
        RogueServer(script) as proxy,
        client_of(ssl_options={"ca_certs": ca}, proxy=proxy.origin) as client,
    ):
        assert client.get(f"https://{host}/").wait(DEADLINE).content == b"spam"
        with pytest.raises(CertificateError):
            client.get("https://elsewhere.test/").wait(DEADLINE)
    assert names == [name, "elsewhere.test"]
    assert len(server.requests) == 1


def test_the_protocol(certs: Certificates) -> None:
    """RFC 7301: HTTP/1.1 is what is spoken."""
    chosen: list[str | None] = []
    context = issued(trustme.CA(), "127.0.0.1")
    context.set_alpn_protocols(["h2", "http/1.1"])

    def script(caller: Caller) -> None:
        assert isinstance(caller.sock, ssl.SSLSocket)
        chosen.append(caller.sock.selected_alpn_protocol())
        replying(CLOSED)(caller)

    with RogueServer(script, context=context) as server, client_of(verify_ssl=False) as client:
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
    assert chosen == ["http/1.1"]


# --- on_ssl_error ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [True, False])
def test_a_certificate_that_is_accepted(certs: Certificates, kind: str, keep: bool) -> None:
    answer = OK if keep else CLOSED
    with (
        RogueServer(replying(answer), context=context_of(kind)) as server,
        client_of(ssl_options={"ca_certs": certs.ca}) as client,
    ):
        asked = Asked(True, server)
        exchange = client.post(server.url, data=b"eggs", on_ssl_error=asked)
        assert exchange.wait(DEADLINE).content == b"spam"
        ((response, certificate, error),) = asked.calls
        assert (response.status_code, response.request.url.hostname) == (0, "127.0.0.1")
        assert response.request is exchange.request
        assert type(error) is CertificateError
        assert error.verify_code in KINDS[kind]
        assert error.certificate == certificate
        names = {value for _, value in certificate["subjectAltName"]}
        assert ("elsewhere.example" in names) == (kind == "wrong_host")
        assert ({"localhost", "127.0.0.1"} <= names) == (kind != "wrong_host")
        ended = ssl.cert_time_to_seconds(certificate["notAfter"]) < dt.datetime.now(dt.UTC).timestamp()
        assert ended == (kind == "expired")
        assert ssl.cert_time_to_seconds(certificate["notBefore"]) < ssl.cert_time_to_seconds(certificate["notAfter"])
        assert ("organizationName", f"trustme v{version('trustme')}") in {pair for (pair,) in certificate["subject"]}
        assert {"issuer", "serialNumber", "version"} <= certificate.keys()
        # It was asked before anything of the request was sent, and once that was so, there was no detour.
        (accepted,) = asked.accepted
        (request,) = server.requests
        assert request.body == b"eggs"
        assert request.connection == server.accepted - 1
        assert accepted <= server.accepted <= 4


def test_further_connections_are_accepted_without_asking() -> None:
    with RogueServer(replying(OK), context=context_of("unknown")) as server, client_of() as client:
        asked = Asked(True)
        client.get(server.url, on_ssl_error=asked).wait(DEADLINE)
        before = server.accepted
        exchanges = [client.get(server.url, on_ssl_error=asked) for _ in range(4)]
        assert [exchange.wait(DEADLINE).content for exchange in exchanges] == [b"spam"] * 4
        assert len(asked.calls) == 1
        assert server.accepted > before  # there were further connections


def test_further_connections_after_all_are_closed() -> None:
    """`HTTPClient.on_ssl_error`: what is accepted is so for the client's further connections to that server."""
    with RogueServer(replying(CLOSED), context=context_of("unknown")) as server, client_of() as client:
        asked = Asked(True)
        for _ in range(3):
            assert client.get(server.url, on_ssl_error=asked).wait(DEADLINE).content == b"spam"
        assert len(asked.calls) == 1


def test_what_is_accepted_is_so_for_that_server_only() -> None:
    context = context_of("unknown")
    with (
        RogueServer(replying(OK), context=context) as server,
        RogueServer(replying(OK), context=context) as other,
        client_of() as client,
    ):
        client.get(server.url, on_ssl_error=Asked(True)).wait(DEADLINE)
        with pytest.raises(CertificateError):
            client.get(other.url).wait(DEADLINE)
        with pytest.raises(CertificateError):
            client.get(f"https://localhost:{server.port}/").wait(DEADLINE)
        asked = Asked(False)
        with pytest.raises(CertificateError):
            client.get(other.url, on_ssl_error=asked).wait(DEADLINE)
        assert len(asked.calls) == 1
    assert other.requests == []


def test_another_certificate_later_is_asked_about_again() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaves = [trustme.CA().issue_cert("127.0.0.1", common_name=name) for name in ("first", "second")]
    leaves[0].configure_cert(context)
    asked = Asked(True)
    with (
        RogueServer(replying(OK), context=context) as server,
        client_of(on_ssl_error=asked, on_error=lambda *_: None) as client,
    ):
        assert client.get(server.url).wait(DEADLINE).content == b"spam"  # over a connection that is kept
        leaves[1].configure_cert(context)
        asked.answer = False
        exchanges = [client.get(server.url) for _ in range(2)]
        assert exchanges[0].wait(DEADLINE).content == b"spam"  # over that connection
        with pytest.raises(CertificateError) as caught:
            exchanges[1].wait(DEADLINE)
        (_, (_, certificate, error)) = asked.calls
        assert error is caught.value
        assert (("commonName", "second"),) in certificate["subject"]
        asked.answer = True
        for _ in range(2):
            assert client.get(server.url, keep_alive=False).wait(DEADLINE).content == b"spam"
        assert len(asked.calls) <= 3


def test_another_certificate_without_anybody_to_ask() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaves = [trustme.CA().issue_cert("127.0.0.1") for _ in range(2)]
    leaves[0].configure_cert(context)
    with RogueServer(replying(CLOSED), context=context) as server, client_of() as client:
        assert client.get(server.url, on_ssl_error=Asked(True)).wait(DEADLINE).content == b"spam"
        leaves[1].configure_cert(context)
        with pytest.raises(CertificateError):
            client.get(server.url).wait(DEADLINE)
    assert len(server.requests) == 1


def test_a_good_certificate_after_a_bad_one_is_not_asked_about() -> None:
    """Manual, "on_ssl_error": called where the certificate failed verification; that one does not."""
    authority = trustme.CA()
    context = issued(trustme.CA(), "127.0.0.1")
    asked = Asked(True)
    with (
        authority.cert_pem.tempfile() as ca,
        RogueServer(replying(CLOSED), context=context) as server,
        client_of(ssl_options={"ca_certs": ca}, on_ssl_error=asked) as client,
    ):
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
        authority.issue_cert("127.0.0.1").configure_cert(context)
        asked.answer = False
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
        assert len(asked.calls) == 1


def test_the_reason_why_another_certificate_is_bad() -> None:
    authority = trustme.CA()
    context = issued(trustme.CA(), "127.0.0.1")
    asked = Asked(True)
    with (
        authority.cert_pem.tempfile() as ca,
        RogueServer(replying(CLOSED), context=context) as server,
        client_of(ssl_options={"ca_certs": ca}, on_ssl_error=asked) as client,
    ):
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)
        expired = authority.issue_cert("127.0.0.1", not_before=past, not_after=past + dt.timedelta(days=1))
        expired.configure_cert(context)
        asked.answer = False
        with pytest.raises(CertificateError):
            client.get(server.url).wait(DEADLINE)
        assert [error.verify_code for _, _, error in asked.calls] == [NO_ISSUER, EXPIRED]


@pytest.mark.parametrize("answer", [None, False, 0, 1, "True", [True], object(), Ellipsis], ids=repr)
def test_only_true_accepts(answer: Any) -> None:
    told: list[Exception] = []
    with (
        RogueServer(replying(OK), context=context_of("expired")) as server,
        client_of(on_error=lambda _, error: told.append(error)) as client,
    ):
        asked = Asked(answer, server)
        exchange = client.get(server.url, on_ssl_error=asked)
        with pytest.raises(CertificateError):
            exchange.wait(DEADLINE)
        ((_, certificate, error),) = asked.calls
        assert told == [error]
        assert error is exchange.error
        assert error.certificate == certificate
    assert server.requests == []


def test_a_hook_that_has_no_hash() -> None:
    """Any callable will do."""

    class Hook(Asked):
        __hash__ = None  # type: ignore[assignment]

    with RogueServer(replying(CLOSED), context=context_of("expired")) as server, client_of() as client:
        asked = Hook(True)
        for _ in range(2):
            assert client.get(server.url, on_ssl_error=asked).wait(5).content == b"spam"


def test_a_hook_that_raises() -> None:
    told: list[Exception] = []
    problem = ZeroDivisionError("in the hook")
    with (
        RogueServer(replying(OK), context=context_of("expired")) as server,
        client_of(on_error=lambda _, error: told.append(error)) as client,
    ):
        with pytest.raises(ZeroDivisionError):
            client.get(server.url, on_ssl_error=Asked(problem, server)).wait(DEADLINE)
        assert told == [problem]
    assert server.requests == []


def test_a_hook_that_cancels() -> None:
    with RogueServer(replying(OK), context=context_of("expired")) as server, client_of() as client:

        def hook(response: HTTPResponse, certificate: dict[str, Any], exception: CertificateError) -> bool:
            exchange.cancel()
            return True

        exchange = client.get(server.url, on_ssl_error=hook)
        with pytest.raises(RequestCancelled):
            exchange.wait(DEADLINE)
        for _ in range(10):
            client.engine.poll(0)
    assert server.requests == []


def test_hooks_of_a_class_a_client_and_a_session() -> None:
    class Lenient(HTTPClient):
        def on_ssl_error(
            self, response: HTTPResponse, certificate: dict[str, Any], exception: CertificateError
        ) -> bool:
            return True

    context = context_of("wrong_host")
    with RogueServer(replying(CLOSED), context=context) as server:
        client: HTTPClient = Lenient()
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
        client.close()
        asked = Asked(True)
        with client_of(None, None, None, asked) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        with client_of() as client, client.session(on_ssl_error=asked):
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        with client_of() as client:
            client.on_ssl_error = asked
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
    assert len(asked.calls) == 3


def test_it_is_not_asked_where_nothing_is_wrong(certs: Certificates) -> None:
    asked = Asked(False)
    with RogueServer(replying(CLOSED), context=certs.good) as server:
        with client_of(ssl_options={"ca_certs": certs.ca}, on_ssl_error=asked) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        with client_of(verify_ssl=False, on_ssl_error=asked) as client:
            assert client.get(server.url).wait(DEADLINE).content == b"spam"
        assert server.accepted == 2
    with (
        RogueServer(replying(CLOSED), context=certs.unknown) as server,
        client_of(verify_ssl=False, on_ssl_error=asked) as client,
    ):
        assert client.get(server.url).wait(DEADLINE).content == b"spam"
    assert asked.calls == []


def test_through_a_proxy() -> None:
    with (
        RogueServer(replying(OK), context=context_of("unknown")) as server,
        RogueServer(proxying) as proxy,
        client_of(proxy=proxy.origin) as client,
    ):
        asked = Asked(True, server)
        assert client.get(server.url, on_ssl_error=asked).wait(DEADLINE).content == b"spam"
        assert {caller.line for caller in proxy.callers} == {f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"}
        assert len(proxy.callers) == server.accepted
        server.requests.clear()
        asked = Asked(None, server)
        with pytest.raises(CertificateError):
            client.get(server.url.replace("127.0.0.1", "localhost"), on_ssl_error=asked).wait(DEADLINE)
        assert len(asked.calls) == 1
    assert server.requests == []


@pytest.mark.parametrize("connection", [1, 2])
@pytest.mark.parametrize("how", ["closed", "plain", "silent"])
def test_the_server_fails_while_its_certificate_is_looked_at(connection: int, how: str) -> None:
    """The second connection, or the third one, does not succeed. There is an end, and nobody is asked in vain."""

    def bad(caller: Caller) -> None:
        if how == "plain":
            caller.send(status("200 OK"))
        if how != "closed":
            caller.read_rest()

    def good(caller: Caller) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(caller.sock.dup(), server_side=True) as sock:
            sock.recv(1)

    context = context_of("unknown")
    scripts = [bad if number == connection else good for number in range(3)]
    with RogueServer(*scripts) as server, client_of() as client:
        asked = Asked(True)
        exchange = client.get(f"https://127.0.0.1:{server.port}/", on_ssl_error=asked, timeout=0.5)
        with pytest.raises((CertificateError, HTTPClientException)):
            exchange.wait(DEADLINE)
        assert asked.calls == []
        assert client._exchanges == set()


def test_a_change_of_certificates_while_it_is_looked_at() -> None:
    """The third connection has another certificate than the one that was fetched: it is not the one to be accepted."""
    leaves = [trustme.CA().issue_cert("127.0.0.1", common_name=name) for name in ("first", "second")]
    contexts = []
    for leaf in leaves:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        contexts.append(context)

    def speaking(context: ssl.SSLContext) -> Callable[[Caller], None]:
        def script(caller: Caller) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(caller.sock.dup(), server_side=True) as sock:
                if sock.recv(65536):
                    sock.sendall(OK)
                    sock.recv(1)

        return script

    first, second = map(speaking, contexts)
    with RogueServer(first, first, second) as server, client_of() as client:
        asked = Asked(True)
        exchange = client.get(f"https://127.0.0.1:{server.port}/", on_ssl_error=asked)
        with contextlib.suppress(CertificateError):
            exchange.wait(DEADLINE)
        # Either it is given up, or asked about the one that is really there.
        assert all((("commonName", "second"),) in certificate["subject"] for _, certificate, _ in asked.calls)


def self_made(
    key: Any, *, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH, authority: bool = False
) -> ssl.SSLContext:
    """The context of a server whose certificate is signed by itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-made")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(x509.ExtendedKeyUsage([usage]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with trustme.Blob(private + certificate.public_bytes(serialization.Encoding.PEM)).tempfile() as path:
        context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("authority", [True, False])
def test_a_certificate_that_is_signed_by_itself(authority: bool) -> None:
    context = self_made(ec.generate_private_key(ec.SECP256R1()), authority=authority)
    with RogueServer(replying(OK), context=context) as server, client_of() as client:
        asked = Asked(True, server)
        assert client.get(server.url, on_ssl_error=asked).wait(DEADLINE).content == b"spam"
        ((_, certificate, error),) = asked.calls
        assert certificate["subject"] == certificate["issuer"] == ((("commonName", "self-made"),),)
        assert error.verify_code == SELF_SIGNED


@pytest.mark.parametrize("flaw", ["for clients", "weak key"])
def test_a_certificate_that_openssl_does_not_take_at_all(flaw: str) -> None:
    """Whatever is wrong with it: the hook is asked once, or the request fails. It does not go round in circles."""
    if flaw == "weak key":
        context = self_made(rsa.generate_private_key(65537, 1024))
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        context = self_made(key, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    with RogueServer(replying(OK), context=context) as server, client_of() as client:
        asked = Asked(True)
        exchange = client.get(server.url, on_ssl_error=asked, on_error=lambda *_: None)
        while not exchange.done and server.accepted < 10:
            client.engine.poll(DEADLINE)
        exchange.cancel()
        assert server.accepted < 10
        assert len(asked.calls) <= 1


def test_it_can_be_cancelled_while_the_certificate_is_fetched() -> None:
    arrived = threading.Event()

    def silent(caller: Caller) -> None:
        arrived.set()
        caller.read_rest()

    def first(caller: Caller) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(caller.sock.dup(), server_side=True) as sock:
            sock.recv(1)

    context = context_of("unknown")
    with RogueServer(first, silent) as server, client_of() as client:
        asked = Asked(True)
        exchange = client.get(f"https://127.0.0.1:{server.port}/", on_ssl_error=asked)
        while not arrived.is_set():
            client.engine.poll(0.05)
        exchange.cancel()
        with pytest.raises(RequestCancelled):
            exchange.wait(DEADLINE)
        assert asked.calls == []


# --- Handshakes that fail ---------------------------------------------------------------------------------------------


def closing(caller: Caller) -> None:
    caller.sock.recv(1)


def resetting(caller: Caller) -> None:
    caller.sock.recv(1)
    caller.reset()


def closing_at_once(caller: Caller) -> None:
    pass


def speaking_http(caller: Caller) -> None:
    caller.sock.recv(65536)
    caller.send(status("400 Bad Request", content=b"plain HTTP"))
    caller.read_rest()


def speaking_first(caller: Caller) -> None:
    caller.send(b"220 mail.example.test ESMTP\r\n")
    caller.read_rest()


def alerting(caller: Caller) -> None:
    caller.sock.recv(65536)
    caller.send(bytes.fromhex("15 0303 0002 02 28"))  # RFC 8446 §6: fatal, handshake_failure
    caller.read_rest()


def babbling(caller: Caller) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            caller.send(b"\x16\x03\x03\x40\x00" + b"\xff" * 16384)
    caller.read_rest()


@pytest.mark.parametrize(
    "script", [closing, resetting, closing_at_once, speaking_http, speaking_first, alerting, babbling]
)
@pytest.mark.parametrize("tunnel", [False, True])
def test_no_tls(script: Callable[[Caller], None], tunnel: bool) -> None:
    told: list[Exception] = []

    def proxied(caller: Caller) -> None:
        caller.read_head()
        caller.send(b"HTTP/1.1 200 OK\r\n\r\n")
        script(caller)

    with (
        RogueServer(proxied if tunnel else script) as server,
        client_of(on_error=lambda _, error: told.append(error)) as client,
    ):
        url = f"https://127.0.0.1:{server.port}/"
        exchange = client.get(url, on_ssl_error=Asked(True), proxy=server.origin if tunnel else None)
        with pytest.raises((ConnectionFailed, RequestClosed)):
            exchange.wait(DEADLINE)
        assert told == [exchange.error]
    assert server.accepted == 1


@pytest.mark.parametrize("script", ["silent", "slow"])
def test_a_handshake_that_is_never_finished(certs: Certificates, script: str) -> None:
    def silent(caller: Caller) -> None:
        if script == "slow":
            caller.sock.recv(65536)
            caller.send(b"\x16\x03\x03\x00\x7a\x02\x00")  # the beginning of a ServerHello
        caller.read_rest()

    with RogueServer(silent) as server, client_of() as client:
        url = f"https://127.0.0.1:{server.port}/"
        with pytest.raises(RequestTimedOut):
            client.get(url, timeout=0.3).wait(DEADLINE)
        with pytest.raises(RequestTimedOut):
            client.get(url, timeout=(0.3, 30)).wait(DEADLINE)


def test_https_to_a_server_of_http_and_the_other_way_round(certs: Certificates) -> None:
    def script(caller: Caller) -> None:
        # No request comes, and the client gives up in the middle of it: before this does, or after.
        with contextlib.suppress(AssertionError):
            caller.read_request()

    with (
        RogueServer(script) as server,
        client_of() as client,
        pytest.raises((ConnectionFailed, RequestClosed, RequestTimedOut)),
    ):
        client.get(f"https://127.0.0.1:{server.port}/", timeout=0.5).wait(DEADLINE)
    with (
        RogueServer(replying(OK), context=certs.good) as server,
        client_of() as client,
        pytest.raises(HTTPClientException),
    ):
        client.get(f"http://127.0.0.1:{server.port}/").wait(DEADLINE)


def test_no_version_in_common(certs: Certificates) -> None:
    context = certs.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server_context = issued(trustme.CA(), "127.0.0.1")
    server_context.minimum_version = ssl.TLSVersion.TLSv1_3
    with RogueServer(replying(OK), context=server_context) as server, client_of(ssl_options=context) as client:
        with pytest.raises(ConnectionFailed, match=r"(?i)version") as caught:
            client.get(server.url).wait(DEADLINE)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


def test_a_name_that_the_server_does_not_know() -> None:
    context = issued(trustme.CA(), "localhost")
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    with (
        RogueServer(replying(OK), context=context) as server,
        client_of() as client,
        pytest.raises(ConnectionFailed, match="name"),
    ):
        client.get(f"https://localhost:{server.port}/").wait(DEADLINE)


# --- The end of the connection (RFC 9112 §9.8) ----------------------------------------------------------------------


@pytest.mark.parametrize("notice", [True, False])
def test_content_without_a_length_needs_the_notice_of_the_end(certs: Certificates, notice: bool) -> None:
    """Without it somebody may have cut the connection off."""

    def script(caller: Caller) -> None:
        assert isinstance(caller.sock, ssl.SSLSocket)
        caller.read_request()
        caller.send(head("200 OK", "Connection: close") + b"spam")
        if notice:
            with contextlib.suppress(OSError):
                caller.sock.unwrap()
        else:
            socket.socket.shutdown(caller.sock, socket.SHUT_WR)
            caller.read_rest()

    with RogueServer(script, context=certs.good) as server, client_of(ssl_options={"ca_certs": certs.ca}) as client:
        exchange = client.get(server.url)
        if notice:
            assert exchange.wait(DEADLINE).content == b"spam"
        else:
            with pytest.raises(RequestClosed):
                exchange.wait(DEADLINE)


def test_the_descriptors_are_given_back() -> None:
    """Of connections whose handshake fails, and of those that fetch certificates."""
    before = len(os.listdir("/dev/fd"))
    with RogueServer(replying(OK), context=context_of("unknown")) as server, client_of() as client:
        for answer in (True, False):
            with contextlib.suppress(CertificateError):
                client.get(server.url, on_ssl_error=Asked(answer), keep_alive=False).wait(DEADLINE)
    client.engine.close()
    assert len(os.listdir("/dev/fd")) <= before + (1 if sys.platform == "darwin" else 0)
