"""Archive Pokémon Showdown battles: every public one, once, whole, politely, and findable.

settings     every component in running order, and what differs between machines
items        what the spiders yield: a battle, or a reply that is none
spiders/     follow the site's pages and yield requests and items
parsers/     turn bytes into items; they know neither Scrapy nor Redis
known        drop requests for battles that the archive already holds
pipelines/   validate, archive, index: one side effect each
index        say where each battle lies; answer by format, time, rating and player
corpus       read stored battles back, by id or by search
export       write battles as Parquet or JSON Lines
pseudonyms   replace the names of players by keyed pseudonyms
commands/    what `scrapy` can do here besides crawling
keys         every name the index uses in Redis
"""
