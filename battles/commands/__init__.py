"""What `scrapy` can do here besides crawling.

battle    show one stored battle
crawl     Scrapy's own, which checks what it is given first
export    write battles as Parquet or JSON Lines
reindex   rebuild the index from the segments
search    list stored battles
"""
