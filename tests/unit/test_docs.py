"""What the documentation tells people to type exists: commands, options, names, files, links."""

import ast
import importlib.util
import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from keras_emo import cli

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PARSED = {"keras-emo": [], "train.py": ["train"], "export.py": ["export"]}
FENCE = re.compile(r"^```(?: \{ \.)?(\w*)(?: \})?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)")
SNIPPET = re.compile(r'^--8<-- "([^":]+)(?::(\d+):)?"$', re.MULTILINE)
FOLDERS = ("configs/", "examples/", "benchmarks/", "tests/", "keras_emo/", "saved_models/default")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [b for kind, b in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands_of(block: str) -> list[list[str]]:
    """Words of each command, without assignments before it and what follows a | or >."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            cut = next((i for i, w in enumerate(words) if w in ("|", "&&", ">", ";")), len(words))
            command, words = words[:cut], words[cut + 1 :]
            while command and re.fullmatch(r"exec|[A-Z_]+=.*|[^=]*\)", command[0]):
                command = command[1:]
            if command:
                found.append(command)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_can_be_typed(page):
    for block in blocks(page, "sh"):
        for command in commands_of(block):
            check_command(command)


def check_command(command: list[str]) -> None:
    """Options are known to the parsers, targets to make, files to the repository."""
    if command[0] == "python" and command[1] in PARSED:
        command = command[1:]
    if command[0] in PARSED:
        cli.build_parser().parse_args(PARSED[command[0]] + command[1:])
    if command[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (w for w in command[1:] if "=" not in w):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for word in command[1:]:
        if word.startswith(FOLDERS) or word.startswith("requirements"):
            assert (ROOT / word).exists(), word


def test_commands_were_found():
    found = [c[0] for p in PAGES for b in blocks(p, "sh") for c in commands_of(b)]
    assert set(found) >= {"keras-emo", "python", "make", "pip"}


@pytest.mark.parametrize(
    "command",
    ["keras-emo predict a.mp4 --no-such", "python train.py --data x", "keras-emo no-such-command"],
)
def test_wrong_commands_are_noticed(command):
    with pytest.raises(SystemExit):
        check_command(shlex.split(command))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_compiles_and_its_imports_exist(page):
    for block in blocks(page, "python"):
        block = SNIPPET.sub(lambda m: (ROOT / m[1]).read_text(encoding="utf-8"), block)
        assert missing_names(block) == []


def missing_names(source: str) -> list[str]:
    """Modules of this project, and names in them, that are imported but are not there."""
    wanted: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wanted += [(a.name, None) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted += [(node.module or "", a.name) for a in node.names]
    ours = [w for w in wanted if w[0].partition(".")[0] in ("keras_emo", "examples")]
    return [f"{module}.{wanted}" for module, wanted in ours if not is_there(module, wanted)]


def is_there(module: str, wanted: str | None) -> bool:
    """Whether a module, and a name on its top level, is there; nothing is imported."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file() or wanted is None:
        return path.is_file()
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {t.id for t in targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(a.asname or a.name) for a in node.names}
    return wanted in names


def test_missing_names_are_noticed():
    assert missing_names("from keras_emo.inference.model import Model, Oracle")
    assert missing_names("import keras_emo.no_such")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_snippets_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in LINK.findall(text):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), f"{target}#{anchor}"
    for file, first in SNIPPET.findall(page.read_text(encoding="utf-8")):
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        if first:  # what is left out ends with the title, as the page has its own
            assert lines[int(first) - 2].startswith("# ")


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "index.md"], ids=name)
def test_its_picture_can_be_drawn_and_asks_no_other_host(page):
    (target,) = re.findall(r"!\[[^\]]{20,}\]\((\S+)\)", page.read_text(encoding="utf-8"))
    drawn = ElementTree.parse(page.parent / target).getroot()
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    linked = [e.get("href", "") for e in drawn.iter() if "href" in e.attrib]
    assert linked
    assert all(link.startswith("data:image/jpeg;base64,") for link in linked)
    assert (page.parent / target).stat().st_size < 50_000


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", t).strip().lower().replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", sorted((DOCS / "howto").glob("*.md")), ids=name)
def test_lines_that_are_counted_are_counted_right(page):
    text = page.read_text(encoding="utf-8")
    for file, n in re.findall(r"\]\(\.\./\.\./(examples/\S+\.py)\)\s+has\s+(\d+)\s+lines", text):
        assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) == int(n), file


def test_every_example_is_shown():
    shown = {f for p in PAGES for f, _ in SNIPPET.findall(p.read_text(encoding="utf-8"))}
    assert shown >= {name(p) for p in (ROOT / "examples").glob("*.py")}


def test_site_has_every_page_and_asks_no_other_host():
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"([\w/]+\.md)$", settings, re.MULTILINE))
    assert listed == {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")}
    assert "\n  font: false\n" in settings
    assert not re.search(r"://|analytics|emoji|social|mermaid", settings)


def test_reference_has_every_room():
    rooms = {p.parent.name for p in (ROOT / "keras_emo").glob("*/__init__.py")}
    assert rooms | {"api"} == {p.stem for p in (DOCS / "reference").glob("*.md")}


def test_the_image_copies_what_is_there_and_starts_what_there_is():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [w for line in lines if re.match("COPY (?!--)", line) for w in line.split()[1:-1]]
    assert "keras_emo" in copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in let_in, source
    entry = json.loads(next(x for x in lines if x.startswith("ENTRYPOINT")).partition(" ")[2])
    options = cli.build_parser().parse_args(PARSED[entry[0]] + entry[1:])
    health = next(line for line in lines if "/v2/health/ready" in line)
    assert (options.host, f":{options.port}/v2" in health) == ("0.0.0.0", True)


def test_the_image_is_of_one_named_base_runs_as_nobody_and_builds_nothing():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert len(bases) == 1, "an environment works where its Python is"
    assert re.fullmatch(r"python:3\.1[1-3]-slim-\w+", *bases)
    last = text[text.rindex("\nFROM ") :]
    (uid,) = re.findall(r"^USER (\d+):\1$", last, re.MULTILINE)
    assert int(uid) >= 10_000
    assert last.index("\nUSER") < last.index("\nENTRYPOINT")
    assert not re.search(r"pip install|apt-get|compileall|curl", last)


def test_links_out_of_the_site_become_names():
    spec = importlib.util.spec_from_file_location("links", DOCS / "links.py")
    links = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(links)
    said = links.unlink(
        "[a](b.md) [settings.py](../../keras_emo/x/settings.py) [It](../../c.py)", "d/e.md"
    )
    assert said == "[a](b.md) `keras_emo/x/settings.py` It (`c.py`)"
