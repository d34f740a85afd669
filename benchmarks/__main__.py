"""Measure everything and write RESULTS.md: `make bench`, on a machine that does nothing else."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from benchmarks import crawl, queue

_RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--few", type=int, default=5_000, help="battles of the short crawl")
    parser.add_argument("--many", type=int, default=20_000, help="battles of the long crawl")
    parser.add_argument("--seen", type=int, default=1_000_000, help="requests to remember")
    options = parser.parse_args()
    lines = [*_head(), *_queue(options.seen), *_crawl(options.few, options.many)]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    _RESULTS.write_text(text, encoding="utf-8")


def _head() -> list[str]:
    return [
        "# Results",
        "",
        (
            f"One run of `make bench` on {os.cpu_count()} cores of {_processor()}, Python "
            f"{platform.python_version()}. Machines differ and are noisy: trust the ratios, which "
            "are of this one run."
        ),
        "",
    ]


def _queue(seen: int) -> list[str]:
    figures = queue.measure()
    rows = [
        f"| {f.name} | {f.push:,.0f} | {f.take:,.0f} | {round(f.bytes_each or 0) or 'none'} |"
        for f in figures
    ]
    return [
        "## The queue, one client",
        "",
        (
            "| queue | put in, a second | taken out (ours: leased and acknowledged), a second "
            "| bytes in Redis, seen and queued |"
        ),
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"Remembering a request that is done: {queue.seen_bytes(seen):.1f} bytes, at {seen:,}.",
        "",
    ]


def _crawl(few: int, many: int) -> list[str]:
    costs = crawl.measure(few, many)
    ours = costs[0].milliseconds
    return [
        f"## CPU per battle of a whole crawl, cost({many:,}) - cost({few:,})",
        "",
        "| crawl | ms a battle | times ours |",
        "| --- | --- | --- |",
        *(f"| {c.name} | {c.milliseconds:.2f} | {c.milliseconds / ours:.1f} |" for c in costs),
        "",
        (
            "`battles` stores segments in S3 and an index in Redis; `one_object` is scrapy-redis "
            "with one S3 object and one Redis hash a battle; `plain` is Scrapy's memory queue and "
            "stores nothing."
        ),
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.machine()


if __name__ == "__main__":
    main()
