"""Certificates that change, several of them, whom they are for; sessions; ALPN."""

from __future__ import annotations

import logging
import os
import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers import (
    TIMEOUT,
    Certificates,
    Client,
    Logs,
    Process,
    Served,
    answer,
    connect_when_up,
    echo,
    free_port,
    get,
    shake_hands,
)

from fasthttpserver._net import certificates as _certificates
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.netutil import ssl_options_to_context

Serve = Callable[..., Served]


class Site(Certificates):
    """Certificates in files, and clients that trust who has issued them."""

    def connect(
        self,
        served: Served,
        name: str | None = "127.0.0.1",
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Client:
        """Connect, and ask for a certificate by a name."""
        context = context or self.client_context()
        if name is None:
            context.check_hostname = False
        client = served.connect()
        client.socket = context.wrap_socket(client.socket, server_hostname=name, session=session)
        return client

    def names(self, served: Served, name: str | None = "127.0.0.1") -> list[str]:
        """The names in the certificate that a client gets who asks for that one."""
        context = self.client_context()
        context.check_hostname = False
        with self.connect(served, name, context) as client:
            assert client.ask(get("/x", "Connection: close")) == b"/x "
            certificate: Any = client.socket
            return [value for _, value in certificate.getpeercert()["subjectAltName"]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, "one.test")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files looked at for each client."""
    monkeypatch.setattr(_certificates, "_LOOK_INTERVAL", 0.0)


def take_errors(logs: Logs) -> list[str]:
    """What went wrong with files: lines without a traceback."""
    taken = [each for each in logs.records if each.levelno == logging.ERROR]
    for each in taken:
        logs.records.remove(each)
        assert each.name == "fasthttpserver.general"
        assert each.exc_info is None
    return [each.getMessage() for each in taken]


# --- Files that change --------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
def test_new_certificate_is_served_when_the_files_have_changed(
    serve: Serve, site: Site, logs: Logs
) -> None:
    served = serve(echo, ssl_options=site.options)
    connected = site.connect(served)
    assert site.names(served) == ["127.0.0.1", "one.test"]
    site.issue("server", "127.0.0.1", "two.test")
    assert site.names(served) == ["127.0.0.1", "two.test"]
    assert connected.ask(get("/x")) == b"/x "
    (line,) = logs.refusals()
    assert site.options["certfile"] in line


@pytest.mark.usefixtures("at_once")
def test_new_certificate_that_comes_by_a_link_is_seen(serve: Serve, site: Site) -> None:
    # As certbot and Kubernetes do it.
    links = {kind: str(site.folder / f"link.{kind}") for kind in site.options}
    other = site.issue("other", "two.test")
    for kind, path in site.options.items():
        os.symlink(path, links[kind])
    served = serve(echo, ssl_options=links)
    assert site.names(served) == ["127.0.0.1", "one.test"]
    for kind, path in other.items():
        os.symlink(path, links[kind] + ".new")
        os.replace(links[kind] + ".new", links[kind])
    assert site.names(served) == ["two.test"]


def test_files_are_not_looked_at_for_every_client(serve: Serve, site: Site, logs: Logs) -> None:
    served = serve(echo, ssl_options=site.options)
    assert site.names(served) == ["127.0.0.1", "one.test"]
    site.issue("server", "two.test")
    assert site.names(served) == ["127.0.0.1", "one.test"]


def test_certificates_are_read_anew_on_demand(serve: Serve, site: Site) -> None:
    served = serve(echo, ssl_options=site.options)
    assert site.names(served) == ["127.0.0.1", "one.test"]
    site.issue("server", "two.test")
    assert served.call(served.server.reload_certificates) is True
    assert site.names(served) == ["two.test"]


BREAKING: dict[str, Callable[[Site], object]] = {
    "no certificate": lambda site: Path(site.options["certfile"]).write_text("none"),
    "no key": lambda site: Path(site.options["keyfile"]).write_text("none"),
    "other key": lambda site: Path(site.options["keyfile"]).write_bytes(
        site.authority.issue_cert("x").private_key_pem.bytes()
    ),
    "gone": lambda site: os.remove(site.options["keyfile"]),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("how", BREAKING)
def test_broken_file_is_one_error_and_the_old_certificate_stays(
    serve: Serve, site: Site, logs: Logs, how: str
) -> None:
    served = serve(echo, ssl_options=site.options)
    BREAKING[how](site)
    for _ in range(3):
        assert site.names(served) == ["127.0.0.1", "one.test"]
    (line,) = take_errors(logs)
    assert site.options["certfile" if how == "no certificate" else "keyfile"] in line
    site.issue("server", "two.test")
    assert site.names(served) == ["two.test"]


def test_broken_file_on_demand_is_told_by_the_result(serve: Serve, site: Site, logs: Logs) -> None:
    served = serve(echo, ssl_options=site.options)
    BREAKING["no key"](site)
    assert served.call(served.server.reload_certificates) is False
    assert len(take_errors(logs)) == 1
    assert site.names(served) == ["127.0.0.1", "one.test"]


def test_context_of_the_application_is_its_own(site: Site) -> None:
    server = HTTPServer(echo, ssl_options=ssl_options_to_context(site.options))
    server.make_ssl_context()
    with pytest.raises(RuntimeError, match="read no certificates"):
        server.reload_certificates()


# --- Several names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("127.0.0.1", "one.test"),
        (None, "one.test"),
        ("one.test", "one.test"),
        ("unknown.test", "one.test"),
        ("two.test", "two.test"),
        ("TWO.test", "two.test"),
        ("www.two.test", "one.test"),
        ("a.three.test", "*.three.test"),
        ("three.test", "one.test"),
        ("a.b.three.test", "one.test"),
        ("b.three.test", "b.three.test"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_each_name_has_its_certificate(
    site: Site, asked: str | None, expected: str, version: ssl.TLSVersion
) -> None:
    names = {"two.test": "two.test", "*.three.test": "*.three.test", "B.three.test": "b.three.test"}
    names["b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.test"] = "xn--bcher-kva.test"
    sni = {name: site.issue(f"{n}", issued) for n, (name, issued) in enumerate(names.items())}
    made = _certificates.Certificates(site.options | {"sni": sni})
    made.load()
    context = site.client_context(check_hostname=False, maximum_version=version)
    certificate = shake_hands(made.context, context, asked)[0].getpeercert()
    assert certificate is not None
    values: Any = certificate["subjectAltName"]
    assert values[-1][1] == expected


@pytest.mark.usefixtures("at_once")
def test_certificate_of_another_name_is_read_anew_too(serve: Serve, site: Site) -> None:
    sni = {"two.test": site.issue("two", "two.test")}
    served = serve(echo, ssl_options=site.options | {"sni": sni})
    assert site.names(served, "two.test") == ["two.test"]
    site.issue("two", "two.test", "three.test")
    assert site.names(served, "two.test") == ["two.test", "three.test"]


# --- Sessions -----------------------------------------------------------------------------

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_session_goes_on_after_the_certificate_has_changed(
    site: Site, version: ssl.TLSVersion
) -> None:
    made = _certificates.Certificates(site.options)
    made.load()
    context = site.client_context(maximum_version=version)
    first, _ = shake_hands(made.context, context)
    site.issue("server", "127.0.0.1", "two.test")
    made.load()
    again, _ = shake_hands(made.context, context, session=first.session)
    assert again.session_reused


@pytest.mark.parametrize("version", VERSIONS)
def test_session_ends_when_other_authorities_vouch_for_clients(
    site: Site, version: ssl.TLSVersion, tmp_path: Path, logs: Logs
) -> None:
    options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": site.ca_certs}
    made = _certificates.Certificates(site.options | options)
    made.load()
    context = site.client_context("ada@example.org", maximum_version=version)
    first, server = shake_hands(made.context, context)
    assert server.getpeercert()
    again, server = shake_hands(made.context, context, session=first.session)
    assert again.session_reused
    assert server.getpeercert()
    Path(site.ca_certs).write_text("broken")
    assert not made.reload()
    trustme.CA().cert_pem.write_to_path(site.ca_certs)
    assert made.reload()
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        shake_hands(made.context, context, session=first.session)
    assert len(take_errors(logs)) == 1


PROGRAM = """
import os
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop

def callback(request):
    body = str(os.getpid()).encode()
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    request.finish()

server = HTTPServer(callback, ssl_options={options})
server.bind({port}, "127.0.0.1")
server.start(2)
IOLoop.current().start()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("version", VERSIONS)
def test_session_goes_on_at_another_worker_of_a_program(
    site: Site, version: ssl.TLSVersion
) -> None:
    port = free_port()
    context = site.client_context(maximum_version=version)

    def visit(client: Client, session: Any = None) -> tuple[int, Any, bool | None]:
        """Who answers, the session, and whether it is the one that is given."""
        tls = context.wrap_socket(client.socket, server_hostname="127.0.0.1", session=session)
        client.socket = tls
        with client:
            return int(client.ask(get())), tls.session, tls.session_reused

    with Process(["-c", PROGRAM.format(port=port, options=site.options)]):
        first, session, _ = visit(connect_when_up(port))
        os.kill(first, signal.SIGKILL)
        other, _, reused = visit(Client(("127.0.0.1", port)), session)
        assert other != first
        assert reused


# --- ALPN ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], "http/1.1"),
        (["h2"], None),  # and HTTP/1.1 is spoken all the same
        (None, None),
    ],
)
def test_http_1_1_is_chosen(
    serve: Serve,
    site: Site,
    version: ssl.TLSVersion,
    offered: list[str] | None,
    chosen: str | None,
) -> None:
    served = serve(echo, ssl_options=site.options)
    context = site.client_context(maximum_version=version)
    if offered is not None:
        context.set_alpn_protocols(offered)
    client = site.connect(served, context=context)
    assert client.ask(get("/x")) == b"/x "
    tls: Any = client.socket
    assert tls.selected_alpn_protocol() == chosen


def test_application_can_tell_what_was_chosen(serve: Serve, site: Site) -> None:
    def tell(request: HTTPRequest) -> None:
        answer(request, request.connection.stream.socket.selected_alpn_protocol())

    context = site.client_context()
    context.set_alpn_protocols(["http/1.1"])
    served = serve(tell, ssl_options=site.options)
    assert site.connect(served, context=context).ask(get()) == b"http/1.1"


# --- What is wrong, in a line -------------------------------------------------------------


def encrypt(site: Site) -> None:
    command = ["openssl", "pkey", "-aes128", "-passout", "pass:x"]
    command += ["-in", site.options["keyfile"], "-out", str(site.folder / "locked.pem")]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    os.replace(site.folder / "locked.pem", site.options["keyfile"])


@pytest.mark.parametrize("how", BREAKING)
def test_file_that_cannot_be_used_is_named(site: Site, how: str) -> None:
    server = HTTPServer(echo, ssl_options=site.options)
    BREAKING[how](site)
    with pytest.raises(OSError) as raised:
        server.listen(0, "127.0.0.1")
    assert site.options["certfile" if how == "no certificate" else "keyfile"] in str(raised.value)
    assert "\n" not in str(raised.value)


def wrong_files(site: Site) -> dict[str, str]:
    """Paths of files by what is wrong with them; those that are right are there, too."""
    authority = site.authority
    made, other = authority.issue_cert("a.test"), authority.issue_cert("b.test")
    certificate, key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
    contents = {
        "certificate": certificate,
        "key": key,
        "other key": other.private_key_pem.bytes(),
        "empty": b"\n",
        "text": b"certfile = yes\n",
        "DER": ssl.PEM_cert_to_DER_cert(certificate.decode()),
        "half a certificate": certificate[:300],
        "damaged certificate": certificate[:200] + b"!!!!" + certificate[204:],
        "half a key": key[:150],
        "chain that begins with another": authority.cert_pem.bytes() + certificate,
        "damaged chain": certificate + authority.cert_pem.bytes()[:300],
    }
    paths = {name: str(site.folder / name.replace(" ", "-")) for name in contents}
    for name, content in contents.items():
        Path(paths[name]).write_bytes(content)
    return paths


NO_PEM = "it is not PEM, as there is no '-----BEGIN' in it"
OTHER_KEY = "its private key is not that of the first certificate in"
BINARY = "it is binary (DER or PKCS #12), and not PEM"


@pytest.mark.parametrize(
    ("certfile", "keyfile", "wrong", "said"),
    [
        ("empty", "key", "certfile", "it is empty"),
        ("text", "key", "certfile", NO_PEM),
        ("DER", "key", "certfile", BINARY),
        ("key", "certificate", "certfile", "it has no certificate, but PRIVATE KEY"),
        ("half a certificate", "key", "certfile", "a certificate in it is damaged"),
        ("damaged certificate", "key", "certfile", "a certificate in it is damaged"),
        ("damaged chain", "key", "certfile", "a certificate in it is damaged"),
        ("certificate", None, "certfile", "it has no private key, and no keyfile is given"),
        ("certificate", "empty", "keyfile", "it is empty"),
        ("certificate", "text", "keyfile", NO_PEM),
        ("certificate", "DER", "keyfile", BINARY),
        ("certificate", "certificate", "keyfile", "it has no private key, but CERTIFICATE"),
        ("certificate", "half a key", "keyfile", "its private key is damaged, or of a kind that "),
        (
            "certificate",
            "other key",
            "keyfile",
            f"{OTHER_KEY} {{certificate}}",
        ),
        (
            "chain that begins with another",
            "key",
            "keyfile",
            f"{OTHER_KEY} {{chain that begins with another}}",
        ),
    ],
)
def test_what_is_wrong_with_a_pair_of_files_is_told_in_plain_words(
    site: Site, certfile: str, keyfile: str | None, wrong: str, said: str
) -> None:
    paths = wrong_files(site)
    options = {"certfile": paths[certfile], "keyfile": keyfile and paths[keyfile]}
    with pytest.raises(ssl.SSLError) as raised:
        ssl_options_to_context(options)
    # Kinds of keys have names of their own, such as EC PRIVATE KEY.
    text = str(raised.value).replace("EC PRIVATE", "PRIVATE").replace("RSA PRIVATE", "PRIVATE")
    assert text.startswith(f"{wrong} {options[wrong]}: {said.format(**paths)}")
    assert raised.value.filename == options[wrong]


def test_key_of_another_kind_is_told_as_that_of_another_certificate(site: Site) -> None:
    other = site.authority.issue_cert("a.test", key_type=trustme.KeyType.RSA)
    other.private_key_pem.write_to_path(site.options["keyfile"])
    with pytest.raises(ssl.SSLError, match=f"{OTHER_KEY} {site.options['certfile']}"):
        ssl_options_to_context(site.options)


@pytest.mark.parametrize(
    ("ca_certs", "said"),
    [
        ("empty", "it is empty"),
        ("text", NO_PEM),
        ("DER", BINARY),
        ("key", "it has no certificate, but "),
        ("damaged certificate", "a certificate in it is damaged"),
    ],
)
def test_what_is_wrong_with_authorities_is_told_in_plain_words(
    site: Site, ca_certs: str, said: str
) -> None:
    path = wrong_files(site)[ca_certs]
    with pytest.raises(ssl.SSLError) as raised:
        ssl_options_to_context(site.options | {"ca_certs": path})
    assert str(raised.value).startswith(f"ca_certs {path}: {said}")


def test_encrypted_key_is_an_error_and_no_question(site: Site) -> None:
    encrypt(site)
    server = HTTPServer(echo, ssl_options=site.options)
    with pytest.raises(ValueError, match=f"{site.options['keyfile']}.*is encrypted"):
        server.listen(0, "127.0.0.1")


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"cert_reqs": ssl.CERT_REQUIRED}, ValueError, "no ca_certs can check them"),
        ({"cert_reqs": ssl.CERT_OPTIONAL}, ValueError, "no ca_certs can check them"),
        ({"ca_certs": "missing.pem"}, ValueError, "ca_certs 'missing.pem' does not exist"),
        ({"sni": {"a": {}}}, KeyError, "missing key .*certfile.* in sni of"),
        ({"sni": {"a": "x.pem"}}, TypeError, "sni of 'a' must be a dict"),
        ({"sni": {"a": {"certfile": "missing.pem"}}}, ValueError, "'missing.pem' does not exist"),
        ({"sni": {"a": {"cert": "x"}}}, ValueError, "unknown keys in sni of 'a': cert"),
    ],
)
def test_options_that_cannot_work_are_refused(
    site: Site, change: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        HTTPServer(echo, ssl_options=site.options | change)


def test_authorities_that_are_none_are_named(site: Site) -> None:
    Path(site.ca_certs).write_text("none")
    options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": site.ca_certs}
    with pytest.raises(ssl.SSLError, match=f"ca_certs {site.ca_certs}"):
        HTTPServer(echo, ssl_options=site.options | options).listen(0, "127.0.0.1")


def test_nothing_older_than_tls_1_2_is_spoken(site: Site) -> None:
    made = _certificates.Certificates(site.options)
    made.load()
    assert made.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert ssl_options_to_context(site.options).minimum_version == ssl.TLSVersion.TLSv1_2
