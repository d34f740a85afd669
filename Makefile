# Everything a newcomer needs: `make demo`, `make test`, `make crawl FORMATS=gen9ou LIMIT=100`.
# A target installs what it needs into .venv, once; nothing else on the machine changes.

PYTHON ?= python3
# What is locked is installed, and nothing resolved anew: a release of tomorrow changes nothing.
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all:
FORMATS ?= gen9ou
LIMIT ?= 100
# The site's operators see this in the user agent, so that they can reach whoever crawls.
CONTACT ?= $(shell git config user.email)

.PHONY: demo demo-live showdown crawl test test-all check release docs bench scrapyd venv lock clean

demo: .venv/main
	.venv/bin/python -m sandbox.demo

showdown: .venv/main
	.venv/bin/python -m sandbox.battle_server

demo-live: .venv/main
	.venv/bin/python -m sandbox.demo_live

crawl: .venv/main
	CONTACT='$(CONTACT)' .venv/bin/scrapy crawl replays -a formats='$(FORMATS)' -a limit='$(LIMIT)'

# Four at a time, also on two cores: many of the tests wait for real processes.
PYTEST = pytest --numprocesses 4 --dist worksteal --durations 10

# Without a server, and with a real Redis and the protocol of S3.
test: check
	.venv/bin/$(PYTEST) -m 'not integration'

# All of it, as on CI: workers killed, disks and servers away, a browser, Node.js, scrapyd, Swift.
# The last ones watch a clock: one at a time, and nothing measured beside them.
test-all: check docs .venv-swift/done .venv-scrapyd/done
	rm -f .coverage .coverage.*
	.venv/bin/coverage run -m $(PYTEST) -m 'not quiet'
	.venv/bin/pytest -m quiet
	.venv/bin/coverage combine --quiet
	.venv/bin/coverage report --skip-covered --skip-empty

check: .venv/test
	.venv/bin/python -m pip --disable-pip-version-check check
	.venv/bin/pre-commit run --all-files

# Build, check what was built, and try it: nothing is uploaded.
release: .venv/test
	rm -rf dist build
	.venv/bin/python -m build --no-isolation --outdir dist .
	.venv/bin/twine check --strict dist/*
	WHEEL="$$(ls $(CURDIR)/dist/*.whl)" .venv/bin/pytest tests/integration/test_packages.py

docs: .venv-docs/done
	.venv-docs/bin/sphinx-build -W -n -q docs docs/_build

bench: .venv/test
	.venv/bin/python -m benchmarks

venv: .venv/test

# Runs crawls that are told to it over HTTP, in the settings of scrapyd/scrapyd.conf.
# Jobs share the queue and the archive with a `scrapy crawl` in this folder.
scrapyd: export SPOOL_DIR ?= $(CURDIR)/.scrapy/spool
scrapyd: export EMBEDDED_REDIS_DIR ?= $(CURDIR)/.scrapy/redis
scrapyd: export ARCHIVE_URL ?= $(CURDIR)/data
scrapyd: .venv-scrapyd/done
	mkdir -p .scrapy/scrapyd
	cd scrapyd && exec ../.venv-scrapyd/bin/scrapyd --pidfile=

.venv/main: requirements/main.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) -r requirements/main.lock
	touch $@

.venv/test: requirements/test.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) -r requirements/test.lock
	touch $@ .venv/main

# Apart from the rest: scrapyd and the S3 server of one test want an older setuptools, and the
# generator of the docs is nobody else's need.
.venv-%/done: requirements/%.lock
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python $(PIP_INSTALL) -r requirements/$*.lock
	touch $@

# With uv. The locks hold names, versions and hashes, and no address.
EXPORT = uv export --quiet --no-default-groups --no-emit-project --no-annotate --no-header
lock:
	$(EXPORT) --extra s3 --extra parquet -o requirements/main.lock >/dev/null
	$(EXPORT) --all-extras --group test -o requirements/test.lock >/dev/null
	$(EXPORT) --only-group docs -o requirements/docs.lock >/dev/null
	$(EXPORT) --extra s3 --extra parquet --group scrapyd -o requirements/scrapyd.lock >/dev/null
	printf 'swift==2.38.0\nsetuptools<81\n' | uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header - -o requirements/swift.lock >/dev/null
	sh requirements/check.sh

clean:
	rm -rf .venv .venv-* .scrapy .showdown demo demo-live
