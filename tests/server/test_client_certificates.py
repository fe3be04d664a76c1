"""Client-Cert (RFC 9440): whom it is taken from, and what is in it."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers import Certificates, Served, answer, get, status_of
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._server.client_certificates import forwarded_certificate
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerConnectionDelegate
from fasthttpserver.wsgi import WSGIContainer

Serve = Callable[..., Served]

TRUSTING = {"trusted_peers": ["127.0.0.1"], "client_cert_header": True}
DISTRUSTING = {"trusted_peers": ["192.0.2.1"], "client_cert_header": True}


@pytest.fixture(scope="module")
def der() -> bytes:
    """A certificate with all kinds of names."""
    names = ["ada@example.org", "a.test", "*.b.test", "192.0.2.1", "2001:db8::1"]
    made = trustme.CA().issue_cert(*names, common_name="Ada", organization_name="Ä, B")
    return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


def field(data: bytes) -> str:
    """As the proxy writes it."""
    return f"Client-Cert: :{base64.b64encode(data).decode()}:"


def tell(request: HTTPRequest) -> None:
    """Answer with both forms of the certificate."""
    answer(request, ascii((request.get_ssl_certificate(), request.get_ssl_certificate(True))))


def test_certificate_that_a_trusted_proxy_tells(serve: Serve, der: bytes) -> None:
    client = serve(tell, **TRUSTING).connect()
    for _ in range(2):
        fields, binary = eval(client.ask(get("/", field(der))))
        assert binary == der
        assert (("organizationName", "Ä, B"),) in fields["subject"]
        assert fields["subjectAltName"][0] == ("email", "ada@example.org")
        assert set(fields) >= {"issuer", "notBefore", "notAfter", "serialNumber", "version"}
    assert eval(client.ask(get())) == (None, None)


def test_it_is_the_dict_that_a_handshake_gives(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    options |= {"ca_certs": certificates.ca_certs}
    required: dict[str, Any] = options | {"cert_reqs": ssl.CERT_REQUIRED}
    direct = serve(tell, ssl_options=required)
    client = direct.connect(context=certificates.client_context("ada@example.org"))
    given, binary = eval(client.ask(get()))
    proxied = serve(tell, **TRUSTING).connect()
    assert eval(proxied.ask(get("/", field(binary)))) == (given, binary)


def test_certificate_of_the_proxy_itself_is_not_the_clients(
    serve: Serve, tmp_path: Path, der: bytes
) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    options |= {"ca_certs": certificates.ca_certs}
    required: dict[str, Any] = options | {"cert_reqs": ssl.CERT_REQUIRED}
    served = serve(tell, ssl_options=required, **TRUSTING)
    client = served.connect(context=certificates.client_context("proxy@example.org"))
    assert eval(client.ask(get())) == (None, None)
    assert eval(client.ask(get("/", field(der))))[1] == der
    # Whoever is no proxy has his own.
    served = serve(tell, ssl_options=required, **DISTRUSTING)
    client = served.connect(context=certificates.client_context("ada@example.org"))
    assert eval(client.ask(get()))[0]["subjectAltName"] == (("email", "ada@example.org"),)


def test_without_the_option_it_is_a_field_like_others(serve: Serve, der: bytes) -> None:
    def tell_all(request: HTTPRequest) -> None:
        answer(request, f"{request.get_ssl_certificate()} {request.headers['Client-Cert']}")

    client = serve(tell_all, trusted_peers=["127.0.0.1"]).connect()
    assert client.ask(get("/", field(der))).startswith(b"None :MII")


class Whole(HTTPServerConnectionDelegate):
    """Gets requests in pieces."""

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        class Message(HTTPMessageDelegate):
            def finish(self) -> None:
                tell(request_conn.request)

        return Message()


async def tell_streamed(request: HTTPRequest) -> None:
    await request.read()
    tell(request)


def tell_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ.get("HTTP_CLIENT_CERT", "").encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


APPLICATIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "callback": (tell, {}),
    "delegate": (Whole(), {}),
    "stream": (tell_streamed, {"stream_request_body": True}),
    "gzip": (tell, {"decompress_request": True}),
}


@pytest.mark.parametrize("kind", [*APPLICATIONS, "wsgi"])
@pytest.mark.parametrize("name", ["Client-Cert", "client-cert", "Client-Cert-Chain"])
def test_from_anybody_else_it_is_refused(
    serve: Serve, logs: Any, der: bytes, kind: str, name: str
) -> None:
    application, options = APPLICATIONS.get(kind) or (WSGIContainer(tell_wsgi, threads=0), {})
    client = serve(application, **options, **DISTRUSTING).connect()
    client.send(get())
    assert client.read_response().status == 200
    client.send(get("/", field(der).replace("Client-Cert", name)))
    assert status_of(client.read_to_end()) == 400
    (line,) = logs.refusals()
    assert "Client-Cert from a peer that is not trusted" in line


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_every_kind_of_application_can_ask(serve: Serve, der: bytes, kind: str) -> None:
    application, options = APPLICATIONS[kind]
    client = serve(application, **options, **TRUSTING).connect()
    assert eval(client.ask(get("/", field(der))))[1] == der


@pytest.mark.parametrize("trust", [TRUSTING, DISTRUSTING], ids=["trusting", "distrusting"])
@pytest.mark.parametrize(
    "name", ["Client_Cert", "client_cert", "Client_Cert_Chain", "Client-Cert_Chain"]
)
def test_name_that_some_applications_take_for_it_is_refused(
    serve: Serve, logs: Any, der: bytes, name: str, trust: dict[str, Any]
) -> None:
    client = serve(tell, **trust).connect()
    client.send(get("/", field(der).replace("Client-Cert", name)))
    assert status_of(client.read_to_end()) == 400
    (line,) = logs.refusals()
    assert "Client-Cert with an underscore" in line


def test_an_application_of_wsgi_reads_the_field(serve: Serve, der: bytes) -> None:
    client = serve(WSGIContainer(tell_wsgi, threads=0), **TRUSTING).connect()
    assert client.ask(get("/", field(der))) == field(der).partition(" ")[2].encode()


# --- What is in it ------------------------------------------------------------------------


@pytest.mark.parametrize("binary_form", [True, False])
@pytest.mark.parametrize(
    "value",
    ["", ":", "::", "MII=", ":MII=", "MII=:", ": MII=:", ":MII=: ", ":MI I=:", ":MII:", ":MIJ=:"]
    + [":MII=:;a=b", '"MII="', ":MII=:, :MII=:", ":MI-_:", ":====:", ":MII==:", ":M\u00fcI=:"],
)
def test_what_is_no_byte_sequence_is_malformed(value: str, binary_form: bool) -> None:
    with pytest.raises(HTTPInputError) as raised:
        forwarded_certificate(HTTPHeaders({"Client-Cert": value}), binary_form)
    assert (raised.value.status, raised.value.reason) == (400, "Malformed Client-Cert")


@given(st.binary(min_size=1, max_size=300))
def test_bytes_are_given_back_and_are_no_certificate(data: bytes) -> None:
    headers = HTTPHeaders({"Client-Cert": field(data).partition(" ")[2]})
    assert forwarded_certificate(headers, binary_form=True) == data
    with pytest.raises(HTTPInputError):
        forwarded_certificate(headers, binary_form=False)


def test_two_of_them_are_malformed(serve: Serve, logs: Any, der: bytes) -> None:
    client = serve(tell, **TRUSTING).connect()
    client.send(get("/", field(der), field(der)))
    assert status_of(client.read_to_end()) == 400
    assert len(logs.refusals()) == 1


def test_what_is_returned_is_the_applications(der: bytes) -> None:
    headers = HTTPHeaders({"Client-Cert": field(der).partition(" ")[2]})
    forwarded_certificate(headers, binary_form=False).clear()
    assert forwarded_certificate(headers, binary_form=False)


def test_option_needs_to_know_whom_to_trust() -> None:
    with pytest.raises(ValueError, match="client_cert_header needs trusted_peers"):
        HTTPServer(tell, client_cert_header=True)
