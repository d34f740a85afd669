"""A process that uses the Redis of a folder until its input ends; see test_embedded."""

from __future__ import annotations

import sys
from pathlib import Path

from extensions.embedded import EmbeddedRedis

if __name__ == "__main__":
    # It ends without `release`, as most programs do.
    sys.stdout.write(EmbeddedRedis(Path(sys.argv[1])).start() + "\n")
    sys.stdout.flush()
    sys.stdin.read()
