"""Arrays from an .npz file that may be damaged, or made to harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those of names that the file has, all without names; checksums are compared.

    Raises ValueError where it is damaged, OSError where it cannot be opened.
    """
    with open(path, "rb") as f:
        try:
            with np.load(f, allow_pickle=False) as data:
                chosen = [n for n in names if n in data.files] if names else data.files
                arrays = {name: data[name] for name in chosen}
        except Exception as e:  # zipfile and NumPy raise a dozen kinds, tokenize.TokenError too
            raise ValueError(f"{type(e).__name__}: {e}") from e
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy hands other members on as bytes
            raise ValueError(f"{name} is no array")
    return arrays
