"""What is wrong with files of certificates and keys: OpenSSL says little more than that it is.

A PEM file (RFC 7468) is text, in which each certificate or key stands between a line
``-----BEGIN CERTIFICATE-----``, with what it is as its label, and one that ends it.
"""

from __future__ import annotations

import re
import ssl

__all__ = ["UnusableFile", "fault_of_authorities", "fault_of_pair"]

# What the labels of what is looked for end with: there are EC PRIVATE KEY and others.
_CERTIFICATE = "CERTIFICATE"
_KEY = "PRIVATE KEY"
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_WHOLE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# What binary files begin with: the tag of a SEQUENCE in ASN.1.
_SEQUENCE = b"\x30"
# How OpenSSL calls a key that is not that of the certificate.
_OTHER_KEY = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


class UnusableFile(ssl.SSLError):
    """A file that TLS options name does not have in it what it should.

    Attributes:
        key: The option: ``certfile``, ``keyfile`` or ``ca_certs``.
        filename: The file's path.
        strerror: What is wrong with it, in plain words.
    """

    def __init__(self, key: str, path: str, words: str, error: ssl.SSLError) -> None:
        super().__init__(error.errno, words)
        self.key = key
        self.filename = path
        self.library, self.reason = error.library, error.reason

    def __str__(self) -> str:
        return f"{self.key} {self.filename}: {self.strerror}"


def fault_of_pair(error: ssl.SSLError, certfile: str, keyfile: str | None) -> UnusableFile:
    """Return what to raise when ``load_cert_chain`` has failed."""
    key, path = ("certfile", certfile) if keyfile is None else ("keyfile", keyfile)
    if error.reason in _OTHER_KEY:
        words = f"its private key is not that of the first certificate in {certfile}"
        return UnusableFile(key, path, words, error)
    fault = _fault(certfile, _CERTIFICATE) or _reason(error)
    if fault is not None:
        return UnusableFile("certfile", certfile, fault, error)
    fault = _fault(path, _KEY)
    if fault is None:
        fault = "its private key is damaged, or of a kind that OpenSSL does not know"
    elif keyfile is None:
        fault = "it has no private key, and no keyfile is given"
    return UnusableFile(key, path, fault, error)


def fault_of_authorities(error: ssl.SSLError, ca_certs: str) -> UnusableFile:
    """Return what to raise when ``load_verify_locations`` has failed."""
    fault = _fault(ca_certs, _CERTIFICATE) or _reason(error) or str(error)
    return UnusableFile("ca_certs", ca_certs, fault, error)


def _fault(path: str, kind: str) -> str | None:
    """Say why a file has no certificate or key that is to be read; None if it may have one."""
    with open(path, "rb") as file:
        data = file.read()
    labels = list(dict.fromkeys(label.decode() for label in _LABEL.findall(data)))
    if not any(label.endswith(kind) for label in labels):
        if labels:
            return f"it has no {kind.lower()}, but {', '.join(labels)}"
        if not data.strip():
            return "it is empty"
        if data.startswith(_SEQUENCE):
            return "it is binary (DER or PKCS #12), and not PEM"
        return "it is not PEM, as there is no '-----BEGIN' in it"
    if kind == _CERTIFICATE and not _are_whole(data):
        return "a certificate in it is damaged"
    return None


def _are_whole(data: bytes) -> bool:
    """Whether all certificates in PEM can be read."""
    found = _WHOLE.findall(data)
    if len(found) < _LABEL.findall(data).count(_CERTIFICATE.encode()):
        return False
    try:
        for each in found:
            text = each.decode("ascii")
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _reason(error: ssl.SSLError) -> str | None:
    """Return OpenSSL's own reason in words, such as ``ee key too small``, if it has one."""
    if not error.reason:
        return None
    return f"OpenSSL refuses it: {error.reason.replace('_', ' ').lower()}"
