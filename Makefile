# One verb a habit. Everything runs in .venv, which the first verb sets up.
PYTHON ?= python3
BIN := .venv/bin
PROTO_OUT ?= proto
PROTOS := $(sort $(wildcard proto/lmscore/v1/*.proto))
SERVICES := $(filter %_service.proto,$(PROTOS))

.PHONY: help demo test check format lint types contract proto bench bench-quick peers clean

help:  ## Show the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: .venv/installed  ## Serve the demo models; score, re-rank, generate and see an error
	@$(BIN)/python checkpoints/demo/demo.py

test: .venv/installed  ## Run the tests
	@# The order is that of tests/conftest.py; by itself, xdist runs files of few tests last.
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# By itself: processes that share the tests among them would not be measured as one.
.PHONY: coverage
coverage: .venv/installed  ## Run the tests and see which branches they take
	@mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine
	$(BIN)/python -m coverage report

check: lint types contract test  ## All that CI runs

format: .venv/installed  ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed
	$(BIN)/mypy proto models server client tests benchmarks checkpoints deploy docs

# proto/released.binpb is the contract that clients were promised: `buf breaking` fails if it is
# broken. `make release-contract` renews it, once a version has gone out.
contract: .venv/installed
	@if [ -x $(BIN)/buf ]; then \
	  $(BIN)/buf lint && $(BIN)/buf format --diff --exit-code && \
	  $(BIN)/buf breaking --against proto/released.binpb && echo "contract: ok"; \
	else echo "contract: buf is absent, so lint and breaking changes were not checked"; fi

.PHONY: release-contract
release-contract: .venv/installed
	$(BIN)/buf build -o proto/released.binpb

proto: $(if $(filter proto,$(PROTO_OUT)),.venv/installed)  ## Regenerate the code of the contract
	$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --python_out=$(PROTO_OUT) --mypy_out=quiet:$(PROTO_OUT) $(PROTOS)
	$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --grpc_python_out=$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) $(SERVICES)

.PHONY: reference
reference: .venv/installed  ## Write docs/reference from the contract, the commands and the settings
	$(BIN)/python -m docs.reference

# KENLM_BIN, a folder with KenLM's own programs, adds build_binary and lmplz to the comparison; NBEST,
# a file of n-best lists as JSON lines, is scored in place of made-up lists. SECTIONS are some sections
# instead of all: `.venv/bin/python -m benchmarks --list` shows them.
KENLM_BIN ?=
NBEST ?=
SECTIONS ?=
export KENLM_BIN NBEST
bench: peers  ## Measure side by side with peers and write docs/performance.md (12 minutes)
	@$(BIN)/pip install --quiet -c constraints.txt 'lmscore[bench]' \
	  || echo "bench: ONNX Runtime could not be installed; it is not compared with"
	$(BIN)/python -m benchmarks $(SECTIONS)

bench-quick: .venv/installed  ## The same with small sizes, to build/bench-quick (2 minutes)
	$(BIN)/python -m benchmarks --quick $(SECTIONS)

.PHONY: soak dashboard dashboard-check
# SOAK_SECONDS is of the load; everything else that is tried comes on top of it.
SOAK_SECONDS ?= 120
soak: .venv/installed  ## Load a server, break what can break, and see that nobody else notices
	$(BIN)/python -m tests.soak --seconds $(SOAK_SECONDS)

dashboard: .venv/installed  ## Make Grafana's dashboard from deploy/grafana/panels.py
	$(BIN)/python -m deploy.grafana.dashboard

dashboard-check: .venv/installed  ## Ask a real Prometheus every panel and rule, under load; draw them
	$(BIN)/python -m deploy.grafana.check --processes 2 --seconds 30 --picture docs/dashboard.png

peers: .venv/installed  ## Install what lmscore is compared with (KenLM; needs a C++ compiler)
	$(BIN)/pip install --quiet -c constraints.txt 'lmscore[peers]' \
	  || echo "peers: KenLM could not be built; the tests that compare with it will skip"
	@# It asks for an old NumPy that it can do without.
	$(BIN)/pip install --quiet --no-deps pyctcdecode==0.5.0 pygtrie==2.6.2 \
	  || echo "peers: pyctcdecode could not be installed; the tests that use it will skip"

.PHONY: node-client
node-client:  ## Install what the tests with a client for Node.js need
	npm ci --ignore-scripts --no-audit --no-fund --prefix tests/interop \
	  || echo "node-client: the packages could not be installed; the tests that use them will skip"

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lmscore needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv .venv
	@# What builds is among what tests need, and so installed once, not in a folder of its own as well.
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt hatchling hatch-vcs
	@# Python compiles the modules that are used when they are; all of torch takes it a minute.
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt \
	  --no-build-isolation -e '.[server,cli,dev,plot,tracing,gpu]'
	@# The first load compiles the kernels and keeps them on disk; from then on a start takes a second.
	@# Each model needs some of its own, so the two are tried side by side.
	$(BIN)/lmscore-server --model demo-lstm=checkpoints/demo/lstm --dry-run & lstm=$$!; \
	$(BIN)/lmscore-server --model demo=checkpoints/demo/trigram.arpa.gz --dry-run && wait $$lstm
	@touch $@

.PHONY: dist sbom licences versions lowest test-lowest
dist: .venv/installed  ## Build the wheel and the sdist into dist/
	@rm -rf dist
	$(BIN)/python -m hatchling build

licences: .venv/installed  ## Write docs/licences.md
	$(BIN)/python -m deploy.licences > docs/licences.new
	@mv docs/licences.new docs/licences.md

sbom: .venv/release  ## Write dist/lmscore.cdx.json: what comes with lmscore, as CycloneDX
	@mkdir -p dist
	$(BIN)/python -m deploy.sbom dist/lmscore.cdx.json

# PYTHONS, folders or names of interpreters, are tried in place of those that are found.
PYTHONS ?=
versions: .venv/release  ## Install the wheel for every Python that is found, and try it
	$(BIN)/python -m tests.packaging.environments versions $(PYTHONS)

lowest: .venv/release  ## Renew the list of the oldest versions that pyproject.toml allows
	$(BIN)/python -m tests.packaging.environments renew

test-lowest: .venv/release  ## Test with the oldest versions that pyproject.toml allows
	$(BIN)/python -m tests.packaging.environments lowest

.venv/release: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt 'lmscore[release]'
	@touch $@

clean:  ## Remove what the verbs made
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache
