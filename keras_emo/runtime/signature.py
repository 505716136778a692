"""Who made a bundle: an Ed25519 signature of bundle.json, which names every file's digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_emo.core.command import require
from keras_emo.core.errors import BundleError, Reason, UsageError

SIGNATURE = "bundle.sig"
HOW = "pip install cryptography"


def sign_description(description: bytes, folder: Path, key: Path) -> Path:
    """Write bundle.sig, 64 bytes, beside the bundle.json that holds ``description``.

    key: an Ed25519 private key without a password, PEM (PKCS 8), as ``openssl genpkey
    -algorithm ed25519`` writes it. Raises UsageError for another key.
    """
    require("cryptography", how=HOW)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = _load(key, lambda data: load_pem_private_key(data, None), Ed25519PrivateKey)
    path = folder / SIGNATURE
    path.write_bytes(private.sign(description))
    return path


def check_signature(description: bytes, folder: Path, key: Path) -> None:
    """Raise BundleError unless bundle.sig signs ``description`` for this public key.

    key: an Ed25519 public key, PEM, as ``openssl pkey -pubout`` writes it. Raises UsageError
    for another key.
    """
    require("cryptography", how=HOW)
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = _load(key, load_pem_public_key, Ed25519PublicKey)
    path = folder / SIGNATURE
    try:
        public.verify(path.read_bytes(), description)
    except FileNotFoundError:
        raise BundleError(path, Reason.BAD_BUNDLE, "the bundle is not signed") from None
    except OSError as e:
        raise BundleError(path, Reason.BAD_BUNDLE, e.strerror or str(e)) from None
    except InvalidSignature:
        raise BundleError(path, Reason.BAD_BUNDLE, f"not signed with the key of {key}") from None


def _load(path: Path, parse: Any, kind: type) -> Any:
    """A key of this kind. Raises UsageError."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        found = parse(path.read_bytes())
    except OSError as e:
        raise UsageError(path, Reason.BAD_CONFIG, e.strerror or str(e)) from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise UsageError(path, Reason.BAD_CONFIG, f"no key can be read from it: {e}") from None
    if not isinstance(found, kind):
        cause = f"a {type(found).__name__}, expected a {kind.__name__}"
        raise UsageError(path, Reason.BAD_CONFIG, cause)
    return found
