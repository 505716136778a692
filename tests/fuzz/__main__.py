"""Coverage-guided fuzzing of everything that reads files made elsewhere.

python tests/fuzz [--seconds 20] [--work build/fuzz] [TARGET ...]
python tests/fuzz TARGET --replay FILE

A reader may return or raise an EmoError (some have another documented error). Anything else is a
finding, also a hang and a growing memory: it is printed, the input is kept in WORK/findings, and
the exit code is 1. Interesting inputs stay in WORK/corpus, where the next run resumes. For a long
run: make fuzz FUZZ_S=600.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = ("media", "bundles", "names", "states")
HANG_S, MEMORY_MB = 15, 2048
MAX_BYTES = 24_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=20, help="of each target")
    parser.add_argument("--work", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--replay", type=Path, metavar="FILE", help="one input, once")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown or (options.replay and len(options.targets) != 1):
        parser.error(f"name {'one' if options.replay else 'some'} of {', '.join(TARGETS)}")
    if options.child is not None:
        return fuzz(options.targets[0], options.child)
    failed = [name for name in options.targets or TARGETS if not attack(name, options)]
    print(f"findings in {', '.join(failed)}" if failed else "no findings", flush=True)
    return int(bool(failed))


def attack(name: str, options: argparse.Namespace) -> bool:
    """Fuzz one target in a process of its own; whether there was no finding."""
    found, corpus = options.work / "findings", options.work / "corpus" / name
    for folder in (found, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, __file__, name, "--child", options.replay or corpus, f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MB}", f"-max_total_time={options.seconds}",
        f"-max_len={MAX_BYTES}", f"-artifact_prefix={found}/{name}-", "-print_final_stats=1",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [str(word) for word in command], env={**os.environ, "TMPDIR": scratch}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        )  # fmt: skip
    lines = done.stdout.splitlines()
    if done.returncode:
        print("\n".join(lines[-60:]))
        print(f"{name}: finding, exit code {done.returncode}; its input is in {found}", flush=True)
        return False
    executed = [line.split()[-1] for line in lines if "number_of_executed" in line]
    print(f"{name}: {', '.join(executed) or 1} executions", flush=True)
    return True


def fuzz(name: str, arguments: list[str]) -> int:
    """The child: instrument the readers, write the seeds, start libFuzzer."""
    import atheris

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    with atheris.instrument_imports(include=["keras_emo"]):
        target = importlib.import_module(f"fuzz_{name}")
    corpus = Path(arguments[0])
    if corpus.is_dir():
        for i, seed in enumerate(target.make_seeds()):
            (corpus / f"seed-{i:02d}").write_bytes(seed)
    atheris.Setup([name, *arguments], target.attack, custom_mutator=target.mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
