# make demo: every command once, on a synthetic data set.   make test: linters, type checker and test suite.
# PYTHON=python3.12 names the Python of .venv, which is made anew if it has another one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow test-clusters test-wheel fuzz audit lint docs install clean

# A Python that is named, in the environment or on the command line, must be that of .venv.
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1 || :),$(shell cat $(INSTALLED) 2>&1))
.PHONY: $(INSTALLED)
endif
endif

install: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml
	@.ci/install '$(PYTHON)' '$(VENV)' '$(firstword $(MAKECMDGOALS) install)'

demo: $(INSTALLED)
	rm -rf $(DEMO)
	$(BIN)/tfcaption sample_data --output $(DEMO)/sample --photos 1000
	$(BIN)/tfcaption build_records --source flickr8k --images $(DEMO)/sample/Flicker8k_Dataset \
		--captions $(DEMO)/sample/Flickr8k_text --output $(DEMO)/records --image_size 128 --min_count 1
	$(BIN)/tfcaption inspect $(DEMO)/records --show 12 --output $(DEMO)/pictures
	$(BIN)/tfcaption extract_features --records $(DEMO)/records --output $(DEMO)/features --stage trunk map \
		--weights random
	$(BIN)/tfcaption train --config sample_frozen
	$(BIN)/tfcaption train --config sample_finetuned
	$(BIN)/tfcaption train --config sample_attention
	$(BIN)/tfcaption export $(DEMO)/runs/attention --output $(DEMO)/export/1
	$(BIN)/tfcaption caption $(DEMO)/export/1 $$(head -n 5 $(DEMO)/sample/Flickr8k_text/Flickr_8k.testImages.txt \
		| sed 's|^|$(DEMO)/sample/Flicker8k_Dataset/|')
	$(BIN)/tfcaption evaluate $(DEMO)/runs/frozen $(DEMO)/runs/finetuned $(DEMO)/runs/attention --split test
	$(BIN)/tfcaption report $(DEMO)/runs/frozen $(DEMO)/runs/finetuned $(DEMO)/runs/attention \
		--images $(DEMO)/sample/Flicker8k_Dataset --output $(DEMO)/report

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m 'not slow' --numprocesses 2 --dist worksteal -rs

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m 'slow and not cluster' -rs

# The jobs on Flink, Spark and Prism, which are fetched into TFCAPTION_CLUSTERS (default: ~/.cache/tfcaption, 2 GB).
# Needs root, java, mvn, go and ip; what cannot be had is skipped by name. Takes minutes: its last line says how many.
test-clusters: $(INSTALLED)
	@start=$$(date +%s); $(BIN)/python -m pytest tests/clusters -m cluster -rs -s; status=$$?; \
	echo "make test-clusters took $$((($$(date +%s) - start) / 60)) minutes"; exit $$status

# The suite against the wheel, in an empty folder: all of it on the first Python of 3.11 to 3.13 that is installed, what
# can depend on the version of Python on the others. WHEEL_PYTHONS names others; WHEEL_TESTS other tests for all.
WHEEL_PYTHONS ?= python3.11 python3.12 python3.13
WHEEL_TESTS ?=
test-wheel: $(INSTALLED)
	.ci/test_wheel $(BIN)/python '$(WHEEL_PYTHONS)' $(WHEEL_TESTS)

# Writes the generated page of the docs again, and builds the site: open site/index.html, or, for its search,
# $(BIN)/mkdocs serve.
docs: $(INSTALLED)
	$(BIN)/python -m tests.support.config_page
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

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
	rm -rf $(VENV) $(DEMO) build site *.egg-info
