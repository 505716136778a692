# The two commands of the README: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= .demo
FUZZ ?= build/fuzz
FUZZ_S ?= 20
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed
SOURCES := requirements-runtime.txt requirements-serve.txt requirements-scale.txt requirements.txt requirements-dev.txt constraints.txt pyproject.toml

.PHONY: demo test check coverage bench fuzz lint docs dist dist-check install clean web web-test

install: $(INSTALLED)

$(INSTALLED): $(SOURCES)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) \
	  else "error: Python 3.11 to 3.13 is needed, this is %d.%d; name one with PYTHON=" % v)'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "error: this Python cannot make environments: apt-get install python3-venv" >&2; exit 6; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps --editable .
	touch $@

# Train on the built-in corpus, export, answer one clip with onnxruntime: what the README shows.
demo: $(INSTALLED)
	$(BIN)/python train.py --data builtin --config configs/demo.toml --cache $(DEMO)/cache --out $(DEMO)/run
	$(BIN)/python export.py --run $(DEMO)/run --model fusion_multi_cnn --out $(DEMO)/bundle
	$(BIN)/keras-emo predict $(DEMO)/cache/builtin/Actor_08/01-01-05-02-01-01-08.mp4 --bundle $(DEMO)/bundle --format json
	$(BIN)/keras-emo evaluate --data $(DEMO)/cache/builtin --bundle $(DEMO)/bundle --speakers test --json $(DEMO)/scores.json
	$(BIN)/keras-emo predict $(DEMO)/cache/builtin/Actor_08/01-01-05-02-01-01-08.mp4 --bundle $(DEMO)/bundle --timeline --window-s 2 --hop-s 0.5 --format json --out $(DEMO)/timeline.json --plot $(DEMO)/timeline.png --annotate $(DEMO)/annotated.mp4
	$(BIN)/keras-emo live $(DEMO)/cache/builtin/Actor_08/01-01-05-02-01-01-08.mp4 --bundle $(DEMO)/bundle --window-s 1 --max-s 3

# JOBS test files at a time; each needs a core and some 2 GiB.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder

# Attack everything that reads files with made-up ones, FUZZ_S seconds each of four readers. Fails on
# a finding, whose input stays in build/fuzz/findings. A long run: make fuzz FUZZ_S=3600.
fuzz: $(FUZZ)/.installed
	$(FUZZ)/venv/bin/python tests/fuzz --seconds $(FUZZ_S) --work $(FUZZ)

$(FUZZ)/.installed: requirements-fuzz.txt requirements-runtime.txt constraints.txt
	@$(PYTHON) -c 'import sys, platform as p; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) \
	  and (p.system(), p.machine()) == ("Linux", "x86_64") else "error: fuzzing needs Python 3.11 to 3.13 on \
	x86-64 Linux, for which there is atheris; this is %s on %s %s; name one with PYTHON=" \
	  % (p.python_version(), p.machine(), p.system()))'
	$(PYTHON) -m venv $(FUZZ)/venv
	$(FUZZ)/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-fuzz.txt
	touch $@

# Before a commit: style, types, and the unit tests but for files that start processes or play in
# real time; made-up input in few examples. Nothing of it needs TensorFlow.
SLOW_UNITS := sandbox demo_corpus serve_process cli_bulk
check: lint
	$(BIN)/python -m pytest -q tests/unit -m 'not slow and not tensorflow' --hypothesis-profile=quick \
	  $(SLOW_UNITS:%=--ignore=tests/unit/test_%.py)

# Lines and branches that the unit tests reach; build/coverage/index.html shows the others.
coverage: $(INSTALLED)
	mkdir -p build
	$(BIN)/coverage run --data-file=build/.coverage --branch --source=keras_emo -m pytest -q tests/unit
	$(BIN)/coverage html --data-file=build/.coverage -q -d build/coverage
	$(BIN)/coverage report --data-file=build/.coverage --skip-covered --sort=cover

# Speed on this machine, on a clip of the built-in corpus; the others say at their top what they need.
CLIP ?= $(DEMO)/cache/builtin/Actor_08/01-01-05-02-01-01-08.mp4
bench: $(INSTALLED) $(CLIP)
	$(BIN)/python benchmarks/decoding.py $(CLIP)
	$(BIN)/python benchmarks/pipeline.py $(CLIP)
	$(BIN)/python benchmarks/cold_start.py $(CLIP)
	$(BIN)/python benchmarks/int8.py

$(DEMO)/cache/builtin/%.mp4: | $(INSTALLED)
	$(BIN)/python -c 'from pathlib import Path; from keras_emo.demo_corpus import BuiltinSpec, build_corpus; \
	  build_corpus(Path("$(DEMO)/cache/builtin"), BuiltinSpec())'

# The documentation as a site, build/site; it asks no other host for anything.
docs: build/docs-venv/.installed
	NO_MKDOCS_2_WARNING=1 build/docs-venv/bin/mkdocs build --strict

build/docs-venv/.installed: requirements-docs.txt
	$(PYTHON) -m venv build/docs-venv
	build/docs-venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

# Wheel and sdist in dist/; dist-check installs them into a clean environment and predicts there,
# with TRAIN=1 it also trains in one.
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

dist-check: dist
	PYTHON=$(PYTHON) TRAIN=$(TRAIN) sh tests/packaging/check_install.sh dist

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The pages of `keras-emo serve` and of `export.py --layout browser`, from web/ to keras_emo/serve/static
# and keras_emo/export/page; needs Node 20.19 or newer.
web:
	cd web && npm ci && npm run build

# Types, unit tests, and that the built pages are the ones that are committed.
web-test:
	cd web && npm ci && npm run check && npm test
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	  (cd web && WEB_OUT="$$out/static" LOCAL_OUT="$$out/page" npm run build) && \
	  diff -r "$$out/static" keras_emo/serve/static && diff -r "$$out/page" keras_emo/export/page

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
