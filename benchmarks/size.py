"""Claim: what deployment installs, and what a bundle weighs, package by package, file by file.

Measured: bytes of the files that each installed distribution lists, in the site-packages of a
virtual environment (made of requirements-runtime.txt, to be the runtime's), and of a bundle.

python benchmarks/size.py VENV [--bundle saved_models/default]
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import distributions
from pathlib import Path


def measure_packages(venv: Path) -> dict[str, int]:
    """Bytes by distribution, and of what no distribution lists (compiled files, say)."""
    folders = sorted(venv.glob("lib/python*/site-packages"))
    if not folders:
        sys.exit(f"{venv}: no lib/python*/site-packages, not a virtual environment")
    sizes: dict[str, int] = {}
    seen: set[Path] = set()
    for found in distributions(path=[str(folders[0])]):
        files = {Path(found.locate_file(f)).resolve() for f in found.files or ()} - seen
        seen |= files
        sizes[found.name] = sum(p.stat().st_size for p in files if p.is_file())
    whole = sum(p.stat().st_size for p in folders[0].rglob("*") if p.is_file())
    listed = sum(p.stat().st_size for p in seen if p.is_file() and folders[0] in p.parents)
    sizes["(listed by none)"] = whole - listed
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("saved_models/default"))
    options = parser.parse_args()
    sizes = measure_packages(options.venv.resolve())
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:8.1f} MB  {name}")
    print(f"{sum(sizes.values()) / 1e6:8.1f} MB  in all")
    info = json.loads((options.bundle / "bundle.json").read_text(encoding="utf-8"))
    print(f"bundle {info['name']}, {info.get('precision', 'fp32')}")
    total = 0
    for path in sorted(p for p in options.bundle.rglob("*") if p.is_file()):
        total += path.stat().st_size
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.relative_to(options.bundle)}")
    print(f"{total / 1e6:8.2f} MB  in all")


if __name__ == "__main__":
    main()
