"""Signals that this package sends beside Scrapy's own."""

work_blocked = object()
"""Sent with a `reason` when nothing new should be begun; with an empty one when it may again."""
leaving = object()
"""Sent without arguments, again and again, while the crawl ends and waits for what it has begun."""
