# Everything a newcomer needs: `make demo`, `make test`, `make crawl FORMATS=gen9ou LIMIT=100`.
# A target installs what it needs into .venv, once; nothing else on the machine changes.

PYTHON ?= python3
PIP_INSTALL = install --quiet --disable-pip-version-check --require-hashes --only-binary=:all:
FORMATS ?= gen9ou
LIMIT ?= 100
# The site's operators see this in the user agent, so that they can reach whoever crawls.
CONTACT ?= $(shell git config user.email)

.PHONY: demo demo-live showdown crawl test check bench venv lock clean

demo: .venv/main
	.venv/bin/python -m sandbox.demo

showdown: .venv/main
	.venv/bin/python -m sandbox.battle_server

demo-live: .venv/main
	.venv/bin/python -m sandbox.demo_live

crawl: .venv/main
	CONTACT='$(CONTACT)' .venv/bin/scrapy crawl replays -a formats='$(FORMATS)' -a limit='$(LIMIT)'

# Four at a time, also on two cores: many of the tests wait for real processes.
test: check $(if $(CI),.venv-s3/done)
	.venv/bin/pytest --numprocesses 4 --dist worksteal -m 'not quiet' --durations 15
	.venv/bin/pytest -m quiet

check: .venv/test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv/test
	.venv/bin/python -m benchmarks

venv: .venv/test

.venv/main: requirements.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip $(PIP_INSTALL) -r requirements.lock
	touch $@

.venv/test: requirements-test.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip $(PIP_INSTALL) -r requirements-test.lock
	touch $@ .venv/main

# A real S3 server for one integration test, apart from the rest since it wants an old setuptools.
.venv-s3/done: requirements-s3.lock
	test -x .venv-s3/bin/python || $(PYTHON) -m venv .venv-s3
	.venv-s3/bin/pip $(PIP_INSTALL) -r requirements-s3.lock
	touch $@

lock:
	uv export -q --no-emit-project --no-annotate --no-header -o requirements.lock >/dev/null
	uv export -q --no-emit-project --no-annotate --no-header --extra test -o requirements-test.lock >/dev/null
	printf 'swift==2.38.0\nsetuptools<81\n' | uv pip compile -q --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header - -o requirements-s3.lock >/dev/null

clean:
	rm -rf .venv .venv-s3 .scrapy .showdown demo demo-live
