"""What any distributed crawl needs, whatever site it crawls.

scheduler    hand requests to the engine from the queue that all workers share
connection   connect to Redis as the settings say
embedded     run a Redis of our own when no other is named
batch        collect what arrives within a moment and handle it in one call
segments     write and read segments: zstd frames of JSON Lines with a count at the end
spool        keep segments on the local disk until they are stored
storage      store whole files and read parts of them, in a folder or in S3
progress     show how far the crawl is
json_logs    log one JSON object a line
"""
