"""Signals that this package sends beside Scrapy's own."""

work_blocked = object()
"""Sent with a `reason` when nothing new should be begun, and with an empty one when it may again;
`by` names who says so, since others may have reasons of their own; with `gives_back`, what is
leased and not begun goes to other workers."""
redis_failed = object()
"""Sent with the `error` by whoever needs Redis and repeats what it did not do: the scheduler says
what is wrong, pauses the crawl or ends it."""
data_lost = object()
"""Sent without arguments when Redis has come back without its data, before the spider starts anew;
handlers may be coroutines, which are waited for."""
nothing_waits = object()
"""Sent again and again while this worker has nothing to download and nothing waits in the queue."""
leaving = object()
"""Sent without arguments, again and again, while the crawl ends and waits for what it has begun."""
