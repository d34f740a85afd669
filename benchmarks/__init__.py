"""What each promise and speed is measured with, and against whom: `make bench`.

queue      operations a second, and bytes in Redis, against scrapy-redis and Scrapy's own queue
crawl      CPU per battle of a whole crawl, against scrapy-redis with one object per battle
startup    CPU until a command has done nothing: `python -m benchmarks.startup`
rivals     the crawls it is compared with
"""
