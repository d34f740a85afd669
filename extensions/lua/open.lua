-- Make a queue ready for one more worker, unless it is of a later version than the worker.
--
-- KEYS  1–3 lanes   4 about
-- ARGV  1 group   2 idle ms after which a worker that holds nothing is forgotten
--       3 the worker's version   4 the epoch, should there be none
-- Returns the queue's version and its epoch.
local version = tonumber(redis.call("HGET", KEYS[4], "version") or ARGV[3])
if version > tonumber(ARGV[3]) then
  return { version, "" }
end
redis.call("HSETNX", KEYS[4], "version", ARGV[3])
redis.call("HSETNX", KEYS[4], "epoch", ARGV[4])

for lane = 1, 3 do
  local created = redis.pcall("XGROUP", "CREATE", KEYS[lane], ARGV[1], "0", "MKSTREAM")
  if created.err and not created.err:find("BUSYGROUP", 1, true) then
    return created
  end
  -- In one step: between a look and the end of the consumer it could take a request with it.
  for _, flat in ipairs(redis.call("XINFO", "CONSUMERS", KEYS[lane], ARGV[1])) do
    local consumer = {}
    for i = 1, #flat, 2 do consumer[flat[i]] = flat[i + 1] end
    if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
      redis.call("XGROUP", "DELCONSUMER", KEYS[lane], ARGV[1], consumer.name)
    end
  end
end
return { version, redis.call("HGET", KEYS[4], "epoch") }
