"""Who made a bundle: signing, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from keras_emo.cli import main
from keras_emo.runtime.signature import SIGNATURE

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

SHIPPED = Path(__file__).parents[2] / "saved_models" / "default"


def write_keys(folder: Path, name: str, private=None) -> tuple[Path, Path]:
    private = private or ed25519.Ed25519PrivateKey.generate()
    paths = folder / f"{name}.pem", folder / f"{name}_public.pem"
    paths[0].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key()
    paths[1].write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return paths


@pytest.fixture
def keys(tmp_path):
    return write_keys(tmp_path, "ours")


@pytest.fixture
def signed(tmp_path, keys) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    assert main(["sign", str(folder), "--key", str(keys[0])]) == 0
    assert (folder / SIGNATURE).stat().st_size == 64
    return folder


def test_signed_bundle(signed, keys):
    assert main(["verify", str(signed), "--signed-by", str(keys[1])]) == 0
    assert main(["inspect", str(signed), "--signed-by", str(keys[1])]) == 0
    assert main(["verify", str(signed)]) == 0  # nobody asked


def test_key_of_somebody_else(signed, tmp_path, capsys):
    _, other = write_keys(tmp_path, "other")
    assert main(["verify", str(signed), "--signed-by", str(other)]) == 5
    assert "bundle.sig" in capsys.readouterr().err


def test_description_changed_after_signing(signed, keys, capsys):
    path = signed / "bundle.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"licence": "do as you like"}))
    assert main(["verify", str(signed)]) == 0  # digests alone cannot tell
    assert main(["verify", str(signed), "--signed-by", str(keys[1])]) == 5
    assert "not signed with the key" in capsys.readouterr().err


def test_every_command_refuses(signed, tmp_path, keys):
    (signed / SIGNATURE).unlink()
    clip = tmp_path / "clip.mp4"
    wanted = ["--signed-by", str(keys[1])]
    for command in (
        ["predict", str(clip), "--bundle", str(signed)],
        ["predict", str(clip), "--bundle", str(signed), "--sandbox"],
        ["predict", str(clip), "--bundle", str(signed), "--timeline"],
        ["live", str(clip), "--bundle", str(signed)],
        ["evaluate", "--data", str(tmp_path), "--bundle", str(signed)],
        ["inspect", str(signed)],
    ):
        assert main([*command, *wanted]) == 5, command


@pytest.mark.parametrize("content", [b"", b"x" * 64, b"x" * 63, b"x" * 10_000])
def test_odd_signatures(content, signed, keys):
    (signed / SIGNATURE).write_bytes(content)
    assert main(["verify", str(signed), "--signed-by", str(keys[1])]) == 5


def test_keys_that_do_not_fit(signed, keys, tmp_path, capsys):
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other, other_public = write_keys(tmp_path, "rsa", private)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_bytes(b"no key")
    for key in (other_public, nonsense, keys[0], tmp_path / "gone.pem"):
        assert main(["verify", str(signed), "--signed-by", str(key)]) == 2
        assert key.name in capsys.readouterr().err
    for key in (other, nonsense, keys[1], tmp_path / "gone.pem"):
        assert main(["sign", str(signed), "--key", str(key)]) == 2
        assert key.name in capsys.readouterr().err


def test_bundle_altered_before_signing(tmp_path, keys):
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    with open(folder / "golden.npz", "ab") as f:
        f.write(b"x")
    assert main(["sign", str(folder), "--key", str(keys[0])]) == 5
    assert not (folder / SIGNATURE).exists()
