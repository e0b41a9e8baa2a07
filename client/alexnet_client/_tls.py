"""TLS and mutual TLS: which certificates a client trusts, and which it shows.

In: paths of PEM files, checked when a ``TLS`` is made. Out: their bytes, read when a client first connects.
Called by: applications, ``_config.py``, ``_channels.py``.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from ._errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class TLS:
    """How to speak TLS with the server; ``TLS()`` trusts the authorities that gRPC brings along.

    Example:
        >>> tls = TLS(root_certificates="ca.pem", client_key="me.key", client_certificate="me.pem")
        >>> Classifier("triton.example.org:8001", tls=tls)

    Args:
        root_certificates: PEM file of the authorities whose servers are trusted, and no others.
        client_key: PEM file of this client's private key, without a password, for a server that asks who calls
            (mutual TLS); with ``client_certificate``.
        client_certificate: PEM file of this client's certificate, any intermediate ones after it.
        server_name: The name that must be in the server's certificate, where it is not the host of the address.

    Raises:
        InvalidSetting: A file cannot be read or is not what it should be, or the two do not belong together.
    """

    root_certificates: str | Path | None = None
    client_key: str | Path | None = None
    client_certificate: str | Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.client_key is None) != (self.client_certificate is None):
            missing = "client_key" if self.client_key is None else "client_certificate"
            raise InvalidSetting(f"{missing} is missing; client_key and client_certificate go together")
        if self.server_name is not None and not self.server_name:
            raise InvalidSetting("server_name is empty; expected a name of the server's certificate")
        _check_files(self)


@dataclass(frozen=True, slots=True)
class Certificates:
    """The content of the files, as gRPC wants it; None for a file that was not named."""

    root_certificates: bytes | None
    client_key: bytes | None
    client_certificate: bytes | None


def read_certificates(tls: TLS) -> Certificates:
    """What is in the files now.

    Raises:
        InvalidSetting: A file cannot be read.
    """
    return Certificates(
        _bytes_of("root_certificates", tls.root_certificates),
        _bytes_of("client_key", tls.client_key),
        _bytes_of("client_certificate", tls.client_certificate),
    )


def _bytes_of(name: str, path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidSetting(f"{name} {path} cannot be read: {error.strerror}") from error


def _check_files(tls: TLS) -> None:
    """Let OpenSSL read the files: gRPC answers a bad one with a handshake that fails, and with no reason."""
    certificates = read_certificates(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if certificates.root_certificates is not None:
        try:
            context.load_verify_locations(cadata=certificates.root_certificates.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError) as error:
            raise InvalidSetting(f"root_certificates {tls.root_certificates} has no certificate in PEM form") from error
    if tls.client_key is not None and tls.client_certificate is not None:
        try:
            context.load_cert_chain(tls.client_certificate, tls.client_key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise InvalidSetting(
                f"client_certificate {tls.client_certificate} and client_key {tls.client_key} cannot be used: "
                f"{_reason(error)}; expected PEM files that belong together, the key without a password"
            ) from error


def _reason(error: Exception) -> str:
    """OpenSSL's words: ``"key values mismatch"``; it says nothing for a file without PEM."""
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else "no PEM in one of them"
