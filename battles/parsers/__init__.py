"""Turn bytes into items; know neither Scrapy nor Redis.

names     the site's identifiers: formats, players, battles
reply     tell JSON from what only claims to be
search    a page of the replay search
chat      take out of a log what people said
log       the log of one battle
replay    one stored replay
frames    what the battle server says over its websocket
room      the log of one room
"""
