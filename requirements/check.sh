#!/bin/sh
# Check that each lock has a wheel of everything for each Python and platform that we name. Wants uv.
set -u
status=0
for lock in main test scrapyd docs; do
  for python in 3.11 3.12 3.13 3.14; do
    for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 x86_64-apple-darwin aarch64-apple-darwin; do
      uv pip install --quiet --no-config --dry-run --target "${TMPDIR:-/tmp}" --python-version $python \
        --python-platform $platform --no-deps --only-binary :all: --require-hashes \
        -r "requirements/$lock.lock" || { echo "$lock.lock: Python $python, $platform"; status=1; }
    done
  done
done
exit $status
