"""A Showdown of one's own, on loopback, for the demo, the tests and the benchmarks.

replays.jsonl.zst   recorded battles, made by the real simulator
simulate.cjs        makes them again
site                the replay site over them: what a search answers, and a replay
queries             what a search asks for, read as the real site reads it
misbehave           what goes wrong on request
server              the site over HTTP; `python -m sandbox` runs it
options             options that the programs share, and what is said when they are wrong
demo                crawl the site and show what came of it
demo_live           have bots play on the battle server, archive that, and show what came of it
battle_server       the real battle server, from its npm package; showdown/ holds what it is made of
players             players who keep it busy, and report what became of each battle
plan                how much they play, what, and what they do in it
meeting             how they get into a battle: by searching, a challenge, an invitation
bots                a named user of the server, and what it sees of a battle
deeds               a bot in a battle, and the deed that it does there
choices             a random legal choice
crowd               a stand-in for the battle server with thousands of battles, over its protocol
crowd_plan          how many battles there are, how long they are, and what becomes of them
crowd_battle        one battle, and what its log says at any time
crowd_rooms         which battles are played, listed, hidden and gone at any time
crowd_guest         what one connection may say, and what it is answered
crowd_budget        its budget of messages
crowd_faults        what goes wrong on request
spectator           a spectator of the battle server who misses nothing, to hold a crawl against
watched             what it saw of a battle
proxy               a websocket proxy before the battle server, which counts what clients say
serving             serve an application on loopback until somebody says that it is enough
client              a page that stands in for the web client; client.html is the page
"""
