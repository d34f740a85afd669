"""What `scrapy` can do here besides crawling.

battle        show one stored battle, or where it is on its way
crawl         Scrapy's own, which checks what it is given first
deadletters   list, show, put back or drop requests that did not succeed
export        write battles as Parquet or JSON Lines
list          Scrapy's own, which tells people what each spider is for
queue         show and steer the queue that all workers share
reindex       rebuild the index from the segments
search        list stored battles
"""
