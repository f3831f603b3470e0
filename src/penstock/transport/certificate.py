"""Host certificates: a host's key is trusted where an authority that known_hosts has signed it.

paramiko checks that the host has the key of its certificate, and nothing else of it.
"""

import base64
import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType

from penstock.errors import Untrusted

if TYPE_CHECKING:
    from penstock.transport.host import Host, Known

ENDS_SO = "-cert-v01@openssh.com"  # kinds of keys that are certificates
OPENSSH = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def check(host: "Host", kind: str, blob: bytes, known: Sequence["Known"], now: float) -> None:
    """Raise Untrusted unless a certificate is one for this host, now, by an authority of ours.

    The rules are those of OpenSSH (PROTOCOL.certkeys, and ssh's sshkey_cert_check_host).
    """
    why, found = "", None
    try:
        found = serialization.load_ssh_public_identity(
            kind.encode() + b" " + base64.b64encode(blob)
        )
        assert isinstance(found, SSHCertificate)
        found.verify_cert_signature()
    except (ValueError, AssertionError, InvalidSignature, UnsupportedAlgorithm) as error:
        why = f"it is none, or its signature is wrong ({type(error).__name__})"
    if isinstance(found, SSHCertificate) and not why:
        why = _why_not(host, found, known, now)
    if why:
        raise Untrusted(
            f"{host} shows a host certificate that is not trusted: {why}",
            hint="ask the site: it renews certificates, and publishes the line `@cert-authority …` "
            f"for known_hosts. `ssh -v {host.name}` shows the certificate",
        )


def _why_not(host: "Host", shown: SSHCertificate, known: Sequence["Known"], now: float) -> str:
    signer, own = _blob(shown.signature_key()), _blob(shown.public_key())
    authorities = [one.key for one in known if one.is_authority]
    revoked = {one.key: one for one in known if one.is_revoked}
    name = host.alias or host.address
    wanted = [one.decode(errors="replace").lower() for one in shown.valid_principals]
    bad = revoked.get(signer) or revoked.get(own)
    is_valid = shown.valid_after <= now < shown.valid_before
    is_for_it = not wanted or any(fnmatch.fnmatchcase(name.lower(), one) for one in wanted)
    unknown = ", ".join(map(repr, shown.critical_options))
    reasons = {
        f"it or its authority was revoked ({bad and f'{bad.file}:{bad.line}'})": bad is not None,
        "an authority signed it that known_hosts has not for this host": signer not in authorities,
        "it is one of a user": shown.type is not SSHCertificateType.HOST,
        "it has expired, or is not valid yet (is this machine's clock right?)": not is_valid,
        f"it is for {', '.join(wanted)}, and not for {name}": not is_for_it,
        f"it has options that are not known here: {unknown}": bool(unknown),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _blob(key: serialization.SSHPublicKeyTypes) -> bytes:
    return base64.b64decode(key.public_bytes(*OPENSSH).split()[1])
