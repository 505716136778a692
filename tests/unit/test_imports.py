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
SCALE_PACKAGES = ("ray", "psutil", "pyarrow", "pandas")

# package, or module at the top: (packages from outside, parts of keras_emo)
BASE = {"records", "__version__", "errors", "labels", "spec", "metrics", "io",
        "extensions", "progress"}  # fmt: skip
MEDIA = BASE | {"media"}
FEATURES = MEDIA | {"features"}
INFERENCE = FEATURES | {"inference"}
ALLOWED = {
    "media": ({"numpy", "cv2", "av", "soxr"}, MEDIA),
    "features": ({"numpy", "cv2", "onnxruntime"}, FEATURES | {"inference"}),
    "inference": ({"numpy", "cv2", "onnxruntime", "soxr", "pandas"}, INFERENCE),
    "render": ({"numpy", "cv2", "av"}, INFERENCE | {"render"}),
    "sandbox": ({"numpy", "av"}, INFERENCE | {"sandbox"}),
    "demo_corpus": ({"numpy", "cv2", "av"}, INFERENCE | {"demo_corpus", "data"}),
    "data": ({"numpy", "cv2", "av", "soxr"}, INFERENCE | {"data", "demo_corpus"}),
    "serve": ({"numpy", *SERVER_PACKAGES}, INFERENCE | {"sandbox", "serve"}),
    "scale": ({"cv2", "pyarrow"}, INFERENCE | {"render", "sandbox", "data", "scale"}),
    "networks": ({"numpy", "keras"}, BASE | {"features", "networks"}),
    "cli": (
        {"numpy"},
        INFERENCE | {"load", "Model", "render", "sandbox", "data", "demo_corpus", "scale", "serve",
                     "cli", "networks", "training", "export"},
    ),
}  # fmt: skip
LAZY = {
    "data/augment.py": {"librosa", "tensorflow"},
    "data/pipeline.py": {"tensorflow"},
    "scale/cluster.py": {"ray", "psutil"},  # Ray once its environment is set
}
PARTS_TOO = {
    "inference/results.py": {"keras_emo.render.chart", "keras_emo.render.report"},
    "inference/model.py": {"keras_emo.sandbox.sandbox"},  # its type
}
# import modules of a registry, of a command
BY_NAME = {"extensions.py", "data/corpora/__init__.py", "cli/__init__.py"}

MODULES = [
    path.relative_to(ROOT).as_posix()
    for part in ALLOWED
    for path in sorted((ROOT / part).rglob("*.py"))
]


def imports_of(source: str, by_name: bool = False) -> list[tuple[str, bool]]:
    """Full names imported anywhere, and whether inside a function; by_name: it may also do so."""
    found = []

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            found.extend((f"{node.module}.{alias.name}", lazy) for alias in node.names)
        elif not by_name and isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            raise AssertionError(f"line {node.lineno}: an import by name cannot be checked")
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy = lazy or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            visit(child, lazy)

    visit(ast.parse(source), False)
    return found


def breaches(module: str, source: str) -> list[str]:
    """Imports in a module, as features/face.py, that the rules forbid."""
    packages, parts = ALLOWED[module.split("/")[0]]
    wrong = []
    for name, lazy in imports_of(source, module in BY_NAME):
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
    assert {"media/reader.py", "inference/model.py", "data/cache.py"} <= set(MODULES)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("features/face.py", "import keras_emo.data.corpus"),
        ("inference/bundle.py", "from keras_emo import training"),
        ("inference/model.py", "def f():\n    import fastapi"),
        ("serve/app.py", "from keras_emo.cli import predict"),
        ("data/augment.py", "import librosa"),
        ("data/cache.py", "def f():\n    import tensorflow as tf"),
        ("networks/audio.py", "class A:\n    from keras_emo.runtime import session"),
    ],
)
def test_breaches_are_found(module, source):
    assert breaches(module, source)


def test_lazy_imports_that_are_allowed():
    assert breaches("data/augment.py", "def f():\n    import librosa") == []


INFERENCE = """
import keras_emo.cli.predict, keras_emo.inference.model, keras_emo.data.corpora
import keras_emo.cli.live, keras_emo.cli.evaluate, keras_emo.cli.inspect, keras_emo.cli.verify
import keras_emo.render.annotate, keras_emo.render.report
import keras_emo.demo_corpus, keras_emo.data.cache, keras_emo.data.pipeline
import keras_emo.data.augment, keras_emo.cli.train, keras_emo.cli.export
import keras_emo.cli.preprocess
"""


@pytest.mark.parametrize(
    ("blocked", "imports"),
    [
        (TRAINING_PACKAGES + SERVER_PACKAGES + SCALE_PACKAGES, INFERENCE),
        (TRAINING_PACKAGES, "import keras_emo.cli.serve"),
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
