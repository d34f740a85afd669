"""What any distributed crawl needs, whatever site it crawls.

scheduler        hand requests to the engine from the queue that all workers share
exchange         carry requests between one worker and the queue: in batches, off the event loop
lease            keep account of what becomes of a request until it is settled
queue            keep requests in Redis Streams: leased, acknowledged, delayed, never lost
seen             name requests by fingerprints, so that each is added once
request_fields   write a request as readable fields, and read it back
retry            decide whether a request is tried again, and when
http_download    download over HTTP with aiohttp, for a fraction of the CPU
websocket        download over websockets: many questions share a few connections
lines            keep a few connections to an address open, and have many questions share them
handshake        open a websocket, or say why there is none
outage           say once what keeps a server from answering, how long to wait, and when it answers
gated_download   take every download past the throttle and the circuit breaker
throttle         send no more to a host than it bears, counted over all workers together
circuit_breaker  leave a host alone that fails again and again, and look whether it is well
limits           read from the settings how much of each host the fleet may use
hosts            share what the fleet knows of each host: its limit, its gate, how it fared
news             hear at once what any worker tells all of them
robots           obey robots.txt also when it cannot be had
dead_letters     keep requests that will not succeed, with what is needed to understand them
inspection       look into a queue: which request is where, and how many are for each host
keys             every name in Redis: of the queue, and of what the fleet knows of hosts
scripts          load the Lua that runs inside Redis
signals          signals that this package sends beside Scrapy's own
connection       connect to Redis as the settings say
embedded         run a Redis of our own when no other is named
server_program   find a server to run, and tell whether it can read what another one wrote
batch            collect what arrives within a moment and handle it in one call
segments         write and read segments: zstd frames of JSON Lines with a count at the end
spool            keep segments on the local disk until they are stored
storage          store whole files and read parts of them, in a folder or in S3
storage_s3       store whole files and read parts of them in S3
progress         show how far the crawl is
garbage          have Python look for garbage less often
log_format       log nothing of what goes well
json_logs        log one JSON object a line
"""
