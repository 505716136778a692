# The two commands of the README: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= .demo
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed
SOURCES := requirements-runtime.txt requirements.txt requirements-dev.txt constraints.txt pyproject.toml

.PHONY: demo test lint install clean

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

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
