"""What `scrapy` can do here besides crawling.

battle        show one stored battle, or where it is on its way
crawl         Scrapy's own, which checks what it is given first
deadletters   list, show, put back or drop requests that did not succeed
bench, check, fetch, parse, shell, view
              Scrapy's own, past the queue that all workers share
export        write battles as Parquet or JSON Lines
list          Scrapy's own, which tells people what each spider is for
queue         show and steer the queue that all workers share
reindex       rebuild the index from the segments
runspider     Scrapy's own, which checks the settings first
search        list stored battles
"""
