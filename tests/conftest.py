"""What the tests share: real photographs, a repository with the demo network, and a real server on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PHOTOGRAPHS = ROOT / "build" / "alexnet_build" / "photographs"
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def nobodys_settings() -> Iterator[None]:
    """Keeps the settings of whoever runs the tests out of every `alexnet-client` that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ALEXNET_URL", raising=False)
        patch.setenv("ALEXNET_CONFIG", os.devnull)
        yield


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """The photographs that the project carries: JPEG files, by name."""
    return sorted(PHOTOGRAPHS.glob("*.jpg"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data sets beside the repository; a clone that has none skips what needs them."""
    if not SHARED_DATA.is_dir():
        reason = f"no data sets at {SHARED_DATA}, where this test finds more photographs"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the demo network in FP32, for ONNX Runtime; not to be written to."""
    folder = tmp_path_factory.mktemp("repository") / "models"
    command = ["repository", "--weights", "demo", "--engine", "onnxruntime", "--precision", "fp32"]
    command += ["--output", str(folder)]
    built = subprocess.run([sys.executable, "-m", "alexnet_build", *command], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator:
    """A real Triton Inference Server on `repository`: .grpc_url, .http_url, .metrics_url, .repository."""
    from alexnet_server import running_server

    with running_server(repository) as running:
        yield running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with PEM files, certificate and key: `ca`, by which `server` and `client` are signed, and `stranger`.

    `server` is for localhost, 127.0.0.1 and triton.test.
    """
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, now = tmp_path_factory.mktemp("certificates"), datetime.datetime.now(datetime.timezone.utc)
    ca: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None = None
    for name in ("ca", "server", "client", "stranger"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer, issuer_key = ca if ca and name != "stranger" else (subject, key)
        names = [
            x509.DNSName("localhost"),
            x509.DNSName("triton.test"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=issuer_key is key, path_length=None), critical=True)
        if name == "server":
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(issuer_key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pkcs8, in_the_clear = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, in_the_clear))
        ca = ca or (subject, key)
    return folder
