"""Who is a controller and which host is which: decided by one authority, for good."""

import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from renova.hosts.authority import Authority, fingerprint, host_named_in
from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, Invalid
from renova.model.ids import HostId

PEM = serialization.Encoding.PEM
HOST = HostId("11111111-1111-4111-8111-111111111111")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", SystemClock())


def signing_request(
    name: str = "host1", key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None
) -> x509.CertificateSigningRequest:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def pem(request: x509.CertificateSigningRequest) -> str:
    return request.public_bytes(PEM).decode()


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def is_authority(certificate: x509.Certificate) -> bool:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_authority_outlives_its_process(tmp_path: Path) -> None:
    first = Authority(tmp_path / "ca", SystemClock())
    again = Authority(tmp_path / "ca", SystemClock())
    assert first.pem == again.pem
    certificate, _ = again.sign_host(pem(signing_request()), HOST)
    signed = x509.load_pem_x509_certificate(certificate.encode())
    signed.verify_directly_issued_by(x509.load_pem_x509_certificate(first.pem.encode()))


def test_keys_are_readable_by_us_only(tmp_path: Path, authority: Authority) -> None:
    authority.serve_as(["127.0.0.1"])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "ca").iterdir()}
    assert modes == dict.fromkeys(("ca.pem", "ca-key.pem", "controller.pem", "controller-key.pem"), 0o600)
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "content"), [("ca-key.pem", None), ("ca-key.pem", b"x"), ("ca.pem", b"x"), ("ca.pem", b"")]
)
def test_a_damaged_authority_is_named_and_never_replaced(tmp_path: Path, name: str, content: bytes | None) -> None:
    Authority(tmp_path, SystemClock())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(BadSetup, match="Restore it from a backup"):
        Authority(tmp_path, SystemClock())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_authority_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "ca-cutshort").mkdir()
    (tmp_path / "ca-cutshort" / "ca-key.pem").write_bytes(b"half a k")
    assert "BEGIN CERTIFICATE" in Authority(tmp_path / "ca", SystemClock()).pem


def test_controllers_that_begin_at_once_have_one_authority_and_a_certificate_each(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def begin(number: int) -> tuple[str, Path]:
        together.wait()
        authority = Authority(tmp_path / "shared" / "ca", SystemClock(), tmp_path / f"controller{number}")
        return authority.pem, authority.serve_as([f"controller{number}"]).certificate

    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(begin, range(4)))
    assert len({pem for pem, _ in begun}) == 1
    assert len({certificate.read_bytes() for _, certificate in begun}) == 4
    assert {file.name for file in (tmp_path / "shared").iterdir()} == {"ca"}
    assert {file.name for file in (tmp_path / "shared" / "ca").iterdir()} == {"ca.pem", "ca-key.pem"}


def test_a_host_gets_a_certificate_for_its_own_key_under_the_id_we_gave_it(authority: Authority) -> None:
    request = signing_request("another-host")
    text, mark = authority.sign_host(pem(request), HOST)
    certificate = x509.load_pem_x509_certificate(text.encode())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert certificate.public_key() == request.public_key()
    assert (host_named_in(der), fingerprint(der)) == (HOST, mark)
    assert "another-host" not in certificate.subject.rfc4514_string()


def test_a_hosts_certificate_is_made_out_to_its_id_and_signs_nothing(authority: Authority) -> None:
    text, _ = authority.sign_host(pem(signing_request()), HOST)
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert usages(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert names(certificate) == [HOST]
    assert not is_authority(certificate)
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_what_a_request_asks_for_beside_its_key_counts_for_nothing(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asking = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Renova controller")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("controller")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text, _ = authority.sign_host(pem(asking), HOST)
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert (is_authority(certificate), names(certificate)) == (False, [HOST])


def names(certificate: x509.Certificate) -> list[str]:
    """Return what the certificate is made out to, beside its subject."""
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return alternative.get_values_for_type(x509.DNSName)


def tampered(offset_from_end: int) -> str:
    """Return a request of which one byte was changed after it was signed."""
    der = bytearray(signing_request().public_bytes(serialization.Encoding.DER))
    der[offset_from_end] ^= 1
    text = ssl.DER_cert_to_PEM_cert(bytes(der))
    return text.replace("CERTIFICATE-----", "CERTIFICATE REQUEST-----")


def off_the_curve() -> str:
    """Return a request whose key is no point of its curve."""
    request = signing_request()
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    der = request.public_bytes(serialization.Encoding.DER).replace(point, b"\x04" + b"\x01" * 64)
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE-----", "CERTIFICATE REQUEST-----")


def of_unknown_kind() -> str:
    """Return a request whose key is of an algorithm that does not exist."""
    der = signing_request().public_bytes(serialization.Encoding.DER)
    ec_key = bytes.fromhex("06072a8648ce3d0201")
    der = der.replace(ec_key, bytes.fromhex("06072a8648ce3d027f"))
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE-----", "CERTIFICATE REQUEST-----")


@pytest.mark.parametrize(
    "request_",
    [
        "",
        "not a request",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "ü",
        tampered(-1),
        off_the_curve(),
        of_unknown_kind(),
        pem(signing_request(key=rsa.generate_private_key(65537, 2048))),
    ],
    ids=["empty", "words", "half", "not ascii", "tampered", "no point of the curve", "unknown key", "rsa"],
)
def test_a_request_that_is_none_is_refused(authority: Authority, request_: str) -> None:
    with pytest.raises(Invalid, match="certificate signing request"):
        authority.sign_host(request_, HOST)


def test_a_controller_is_known_under_all_its_names(authority: Authority) -> None:
    identity = authority.serve_as(["10.0.0.1", "controller", "10.0.0.1", "fd00::1"])
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("10.0.0.1"), ip_address("fd00::1")]
    assert names.get_values_for_type(x509.DNSName) == ["controller"]
    assert (is_authority(certificate), usages(certificate)) == (False, [ExtendedKeyUsageOID.SERVER_AUTH])
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(identity.authority.read_bytes()))


def test_a_controllers_certificate_stays_until_it_gets_a_new_name(authority: Authority) -> None:
    certificate = authority.serve_as(["10.0.0.1", "controller"]).certificate
    before = certificate.read_bytes()
    for names in (["10.0.0.1", "controller"], ["controller"]):
        authority.serve_as(names)
        assert certificate.read_bytes() == before
    authority.serve_as(["10.0.0.1", "controller", "10.0.0.2"])
    assert certificate.read_bytes() != before


@pytest.mark.parametrize("harm", ["certificate lost", "certificate damaged", "key lost", "another key", "another CA"])
def test_a_controllers_certificate_that_is_no_use_is_signed_anew(tmp_path: Path, harm: str) -> None:
    authority = Authority(tmp_path / "ca", SystemClock())
    identity = authority.serve_as(["127.0.0.1"])
    other = Authority(tmp_path / "other", SystemClock()).serve_as(["127.0.0.1"])
    match harm:
        case "certificate lost":
            identity.certificate.unlink()
        case "certificate damaged":
            identity.certificate.write_bytes(b"x")
        case "key lost":
            identity.key.unlink()
        case "another key":
            identity.key.write_bytes(other.key.read_bytes())
        case "another CA":
            identity.key.write_bytes(other.key.read_bytes())
            identity.certificate.write_bytes(other.certificate.read_bytes())
    identity = authority.serve_as(["127.0.0.1"])
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(identity.certificate, identity.key)
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))


def test_certificates_hold_on_hosts_whose_clocks_are_behind(authority: Authority) -> None:
    text, _ = authority.sign_host(pem(signing_request()), HOST)
    now = SystemClock().wall()
    for certificate in (x509.load_pem_x509_certificate(each.encode()) for each in (text, authority.pem)):
        assert certificate.not_valid_before_utc <= now - timedelta(minutes=59)
        assert certificate.not_valid_after_utc >= now + timedelta(days=3000)


def test_a_certificate_without_a_name_speaks_for_nobody() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = SystemClock().wall()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    assert host_named_in(certificate.public_bytes(serialization.Encoding.DER)) == ""
