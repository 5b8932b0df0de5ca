# make demo: every command once, on a synthetic data set.   make test: linters, type checker and test suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow fuzz audit lint install clean

install: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	rm -rf $(DEMO)
	$(BIN)/tfcaption sample_data --output $(DEMO)/sample
	$(BIN)/tfcaption build_records --source flickr8k --images $(DEMO)/sample/Flicker8k_Dataset \
		--captions $(DEMO)/sample/Flickr8k_text --output $(DEMO)/records --image_size 64 --min_count 1
	$(BIN)/tfcaption inspect $(DEMO)/records --show 12 --output $(DEMO)/pictures
	$(BIN)/tfcaption extract_features --records $(DEMO)/records --output $(DEMO)/features/trunk \
		--stage trunk --weights random
	$(BIN)/tfcaption extract_features --records $(DEMO)/records --features $(DEMO)/features/trunk \
		--output $(DEMO)/features/pooled --stage pooled --weights random
	$(BIN)/tfcaption train --config configs/sample_frozen.yaml
	$(BIN)/tfcaption train --config configs/sample_finetuned.yaml
	$(BIN)/tfcaption evaluate --run $(DEMO)/runs/frozen $(DEMO)/runs/finetuned --split test
	$(BIN)/tfcaption export --run $(DEMO)/runs/finetuned --output $(DEMO)/export/1
	$(BIN)/tfcaption caption --model $(DEMO)/export/1 \
		$$(ls $(DEMO)/sample/Flicker8k_Dataset/*.jpg | head -n 5)
	$(BIN)/tfcaption report $(DEMO)/runs/frozen $(DEMO)/runs/finetuned --output $(DEMO)/report

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m 'not slow' --numprocesses 2 --dist worksteal -rs

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow -rs

# Fuzzes every reader of foreign files for FUZZ_SECONDS each; Python 3.11 to 3.13.
FUZZ_SECONDS := 10
fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3,<4'
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# Checks the code with bandit and the installed packages with pip-audit, both in a separate environment.
audit: $(INSTALLED)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'bandit[toml]>=1.9,<2' 'pip-audit>=2.10,<3'
	$(VENV)/audit/bin/bandit --quiet --configfile pyproject.toml --recursive beam_jobs tfcaption
	$(VENV)/audit/bin/pip-audit --skip-editable --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
