# The two commands of the README: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= .demo
FUZZ ?= build/fuzz
FUZZ_S ?= 20
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed
SOURCES := requirements-runtime.txt requirements-serve.txt requirements.txt requirements-dev.txt constraints.txt pyproject.toml

.PHONY: demo test fuzz lint install clean web web-test

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

test: $(INSTALLED)
	$(BIN)/python -m pytest

# Attack everything that reads files with made-up ones, FUZZ_S seconds each of five readers. Fails on
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

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The page of `keras-emo serve`, from web/ to keras_emo/server/static; needs Node 20.19 or newer.
web:
	cd web && npm ci && npm run build

# Types, unit tests, and that the built page is the one that is committed.
web-test:
	cd web && npm ci && npm run check && npm test
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	  (cd web && WEB_OUT="$$out" npm run build) && diff -r "$$out" keras_emo/server/static

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
