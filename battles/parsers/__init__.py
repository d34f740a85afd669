"""Turn bytes into items; know neither Scrapy nor Redis.

names     the site's identifiers: formats, players, battles
numbers   numbers as the site writes them
reply     tell JSON from what only claims to be
search    a page of the replay search
chat      take out of a log what people said
seats     who sits where in a battle, and who of them won
team      the Pokémon of one side
sheets    an open team sheet
endings   how a battle came to its end
log       the log of one battle
replay    one stored replay
frames    what the battle server says over its websocket
room      the log of one room
"""
