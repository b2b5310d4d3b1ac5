"""Other machines are served over HTTPS, with a certificate whose fingerprint is the one that is shown."""

from __future__ import annotations

import hashlib
import ssl
import stat
import sys

import httpx2 as httpx
import pytest
from server_in_thread import ServerInThread

from starcast.errors import OptionError
from starcast.runtime.bundle import open_bundle
from starcast.runtime.serve.addresses import names_of
from starcast.runtime.serve.https import check_certificate, self_signed
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.options import ServeOptions
from starcast.runtime.serve.run import _show, open_service


def test_a_certificate_of_the_run_encrypts_for_its_names_and_has_its_fingerprint(tiny_bundle):
    with (
        self_signed(["127.0.0.1", "studio.local", "[::1]"]) as certificate,
        open_service(open_bundle(tiny_bundle), Limits(), lambda _: None, backend="onnxruntime", threads=1) as service,
    ):
        if sys.platform != "win32":
            assert stat.S_IMODE(certificate.key.stat().st_mode) == 0o600
        server = ServerInThread(service, certificate)
        try:
            trusting = ssl.create_default_context(cafile=certificate.certificate)
            answer = httpx.get(server.address, verify=trusting)
            assert answer.status_code == 303
            assert "; Secure" in answer.headers["set-cookie"]
            pem = ssl.get_server_certificate(("127.0.0.1", server.port))
        finally:
            server.stop()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    assert certificate.fingerprint == ":".join(digest[place : place + 2] for place in range(0, 64, 2))
    assert not certificate.key.exists()


def test_a_certificate_that_does_not_fit_its_key_is_a_sentence(tmp_path):
    with pytest.raises(OptionError, match="does not exist"):
        check_certificate(tmp_path / "none.pem", None)
    (tmp_path / "text.pem").write_text("text")
    with pytest.raises(OptionError, match="no certificate that fits its key"):
        check_certificate(tmp_path / "text.pem", None)
    with self_signed(["a"]) as one, self_signed(["b"]) as other:
        assert check_certificate(one.certificate, one.key).fingerprint is None
        with pytest.raises(OptionError, match="no certificate that fits its key"):
            check_certificate(one.certificate, other.key)


def test_other_machines_are_shown_a_qr_code_and_the_fingerprint(monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail("the browser was opened"))
    said = []
    with self_signed(["a"]) as certificate:
        _show("https://a:8000/?token=x", certificate, ServeOptions(host="0.0.0.0", browser=False), said.append)
    assert said[0] == "Open https://a:8000/?token=x"
    assert len(said[1].splitlines()) > 10
    assert certificate.fingerprint in said[2]


def test_a_server_for_every_address_is_known_by_this_machines_names():
    names = names_of("0.0.0.0")
    assert {"127.0.0.1", "localhost"} < set(names)
    assert "0.0.0.0" not in names
