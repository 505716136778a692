"""Who may import whom. Imports inside functions count as well."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keras_emo

ROOT = Path(keras_emo.__file__).parent
STDLIB = set(sys.stdlib_module_names)
TRAINING_PACKAGES = ("tensorflow", "keras", "librosa", "mtcnn", "onnx", "tf2onnx")
SERVER_PACKAGES = (
    "fastapi", "starlette", "pydantic", "uvicorn", "python_multipart", "prometheus_client",
)  # fmt: skip
SCALE_PACKAGES = ("ray", "pyarrow", "pandas")

# part: (packages from outside, parts of keras_emo)
ALLOWED = {
    "core": ({"numpy", "cv2", "av", "soxr"}, {"core"}),
    "runtime": ({"numpy", "cv2", "onnxruntime", "av", "soxr"}, {"core", "runtime"}),
    "commands": ({"numpy"}, {"core", "runtime", "data", "scale", "commands", "server"}),
    "server": ({"numpy", *SERVER_PACKAGES}, {"__version__", "core", "runtime", "server"}),
    "data": ({"numpy", "cv2", "av", "soxr"}, {"core", "runtime", "data"}),
    "scale": ({"cv2", "pyarrow"}, {"__version__", "core", "runtime", "data", "scale"}),
    "models": ({"numpy", "keras"}, {"core", "models"}),
}
LAZY = {
    "data/augment.py": {"librosa", "tensorflow"},
    "data/draws.py": {"tensorflow"},
    "data/pipeline.py": {"tensorflow"},
    "runtime/signature.py": {"cryptography"},  # only where a bundle is signed
    "scale/cluster.py": {"ray"},  # once its environment is set
    "scale/work.py": {"ray"},
}
PARTS_TOO = {  # its corpus and its configuration are read as train.py reads them
    "commands/preprocess.py": {"keras_emo.training.config", "keras_emo.training.data"},
}

MODULES = [
    path.relative_to(ROOT).as_posix()
    for part in ALLOWED
    for path in sorted((ROOT / part).rglob("*.py"))
]


def imports_of(source: str, package: str, by_name: bool = False) -> list[tuple[str, bool]]:
    """Full names imported anywhere, and whether inside a function; by_name: it may also do so."""
    found = []

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            name = ".".join(
                [*(base if node.level else ()), *([node.module] if node.module else ())]
            )
            found.extend((f"{name}.{alias.name}", lazy) for alias in node.names)
        elif not by_name and isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            raise AssertionError(f"line {node.lineno}: an import by name cannot be checked")
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, lazy)

    visit(ast.parse(source), False)
    return found


def breaches(module: str, source: str) -> list[str]:
    """Imports in a module, as core/face.py, that the rules forbid."""
    packages, parts = ALLOWED[module.split("/")[0]]
    package = ".".join(["keras_emo", *module.split("/")[:-1]])
    wrong = []
    for name, lazy in imports_of(source, package, module == "core/extensions.py"):
        top, *rest = name.split(".")
        if top == "keras_emo":
            allowed = PARTS_TOO.get(module, set())
            known = rest[0] in parts or ".".join(name.split(".")[:3]) in allowed
        else:
            known = top in STDLIB | packages or (lazy and top in LAZY.get(module, ()))
        if not known:
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("module", MODULES)
def test_rules_hold(module):
    assert breaches(module, (ROOT / module).read_text(encoding="utf-8")) == []


def test_every_part_was_read():
    assert {m.split("/")[0] for m in MODULES} == set(ALLOWED)
    assert {"core/media.py", "runtime/predictor.py", "data/cache.py"} <= set(MODULES)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core/face.py", "import keras_emo.data.takes"),
        ("core/face.py", "def f():\n    import onnxruntime"),
        ("runtime/bundle.py", "from keras_emo.data import cache"),
        ("runtime/bundle.py", "from keras_emo import training"),
        ("runtime/bundle.py", "from ..data import cache"),
        ("runtime/predictor.py", "def f():\n    import fastapi"),
        ("runtime/predictor.py", "from keras_emo.server import settings"),
        ("server/app.py", "from keras_emo.commands import predict"),
        ("server/body.py", "import requests"),
        ("data/augment.py", "import librosa"),
        ("data/cache.py", "def f():\n    import tensorflow as tf"),
        ("data/builtin/corpus.py", "from keras_emo.models.registry import MODELS"),
        ("models/audio.py", "class A:\n    from keras_emo.runtime import session"),
    ],
)
def test_breaches_are_found(module, source):
    assert breaches(module, source)


def test_lazy_imports_that_are_allowed():
    assert breaches("data/augment.py", "def f():\n    import librosa") == []
    assert breaches("data/builtin/corpus.py", "from . import faces\nfrom ..takes import Take") == []


INFERENCE = """
import keras_emo.cli, keras_emo.runtime.predictor, keras_emo.data.corpora
import keras_emo.commands.timeline, keras_emo.commands.live, keras_emo.commands.evaluate
import keras_emo.runtime.annotate, keras_emo.runtime.plot
import keras_emo.data.builtin, keras_emo.data.cache, keras_emo.data.pipeline
import keras_emo.data.augment, keras_emo.training.command, keras_emo.exporting.command
import keras_emo.commands.preprocess
"""


@pytest.mark.parametrize(
    ("blocked", "imports"),
    [
        (TRAINING_PACKAGES + SERVER_PACKAGES + SCALE_PACKAGES, INFERENCE),
        (TRAINING_PACKAGES, "import keras_emo.commands.serve"),
    ],
)
def test_inference_needs_no_other_package(blocked, imports):
    """With those blocked, all that a command needs still imports."""
    script = f"""
import sys

BLOCKED = {blocked!r}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Block())
{imports}
print(sorted({{m.partition(".")[0] for m in sys.modules}} & set(BLOCKED)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"
