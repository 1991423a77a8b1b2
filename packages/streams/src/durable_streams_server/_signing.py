"""Keys that webhooks are signed with (PROTOCOL sections 6.5 and 7.1)."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def new_private_key() -> bytes:
    """A new private key, raw."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


class SigningKey:
    """An Ed25519 key.

    Attributes:
        id: ``kid``: follows from the key, by its JWK thumbprint (RFC 7638).
        public: The public half as a JSON Web Key.
    """

    def __init__(self, private: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        point = _encode(self._key.public_key().public_bytes_raw())
        members = {"crv": "Ed25519", "kty": "OKP", "x": point}
        canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
        self.id = f"ds_{_encode(sha256(canonical.encode()).digest())}"
        self.public = members | {"kid": self.id, "use": "sig", "alg": "EdDSA"}

    def sign(self, body: bytes, now: float) -> str:
        """The ``Webhook-Signature`` of a body that is sent at ``now`` (epoch seconds)."""
        timestamp = int(now)
        signature = self._key.sign(b"%d." % timestamp + body)
        return f"t={timestamp},kid={self.id},ed25519={_encode(signature)}"


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
