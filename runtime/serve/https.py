"""HTTPS for other machines: the user's certificate, or one that is made for this run."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from starcast.errors import OptionError, printable, reason_of

_DAYS = 30  # a run is shorter, and browsers accept no long ones


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate and its key. `fingerprint`: SHA-256, by which a user knows one that nobody signed."""

    certificate: Path
    key: Path
    fingerprint: str | None = None


def check_certificate(certificate: Path, key: Path | None) -> Certificate:
    """The user's certificate. Raises OptionError if it cannot be used."""
    files = certificate, certificate if key is None else key
    for path in files:
        if not path.is_file():
            raise OptionError(f"{printable(path)} does not exist: give --cert a certificate, and --key its key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files)
    except (ssl.SSLError, OSError) as error:
        raise OptionError(
            f"{printable(certificate)} is no certificate that fits its key ({reason_of(error)}): give both as PEM files"
        ) from error
    return Certificate(*files)


@contextmanager
def self_signed(names: Sequence[str]) -> Iterator[Certificate]:
    """A certificate that nobody signed, for hosts and addresses. Its files, which only this user may read, go with the
    block."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def general_name(name: str) -> x509.GeneralName:
        bare = name.strip("[]")
        try:
            return x509.IPAddress(ipaddress.ip_address(bare))
        except ValueError:
            return x509.DNSName(bare)

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "starcast")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(general_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    with TemporaryDirectory(prefix="starcast-") as folder:  # readable by its owner only
        certificate, secret = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.touch(0o600)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        yield Certificate(certificate, secret, made.fingerprint(hashes.SHA256()).hex(":").upper())
