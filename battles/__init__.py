"""Archive Pokémon Showdown battles: every public one, once, whole, politely, and findable.

settings       every component in running order, and what differs between machines
items          what the spiders yield: a battle, or a reply that is none
spiders/       follow the site's pages and yield requests and items
paging         decide which search page comes next, so that no battle is lost at an edge
listing        decide what to ask so that every live battle is found
browser        look at the list and into rooms through the web client, in a real browser
client_pages   hear what the server says to such a page, and use its controls to ask
outbox         send messages no faster than the battle server takes them
dialogue       talk with the battle server as an unnamed guest
parsers/       turn bytes into items; they know neither Scrapy nor Redis
arguments      read the arguments that `-a` gives a spider
filters        the filters that searching and exporting share on the command line
fingerprints   tell searches apart that share an address and look for different things
known          drop requests for battles that the archive already holds
pipelines/     validate, archive, index: one side effect each
recovery       bring in what a crash left in the spool, before the crawl begins
records        hold a battle as one line of JSON, as the segments keep it
index          say where each battle lies; answer by format, time, rating and player
corpus         read stored battles back, by id or by search
summary        describe battles to people: in a line, or in a few
explain        tell everything that is known of a battle
export         write battles as Parquet or JSON Lines
parquet        write battles to a Parquet file
pseudonyms     replace the names of players by keyed pseudonyms
leftovers      find names that are left in a battle after they were replaced
commands/      what `scrapy` can do here besides crawling
console        what the commands share
keys           every name the index uses in Redis
"""
