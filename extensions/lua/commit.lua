-- Put new requests in and take finished ones out, in one step.
--
-- KEYS  1–3 lanes   4 delayed   5 counts   6 watchers   7 dead_letters   8 hosts
--       9… seen buckets
-- ARGV  1 group   2 now in ms, or "" for the server's clock   3 operations as JSON, each one of
--       ["add", lane, delay ms, fields, watcher, seen key or 0, fingerprint]
--       ["done", lane, id, outcome, watcher]
--       ["return", lane, id, new lane, delay ms, fields]
--       ["dead", lane, id, letter as JSON, watcher]
-- Only "add" happens regardless: the others take effect once, however often and by whomever they
-- are sent. Returns for each operation 1 when it took effect, else 0.
local group, now = ARGV[1], tonumber(ARGV[2])
if not now then
  local time = redis.call("TIME")
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function count(what, lane, by)
  redis.call("HINCRBY", KEYS[5], what .. ":" .. lane, by)
end

local noted = {}
local function note_host(fields)
  -- As it is written, the address comes first.
  local host = fields[1] == "url" and fields[2]:match("^[^:/]+://([^/?#]*)")
  host = host and host:match("[^@]*$"):lower()
  if host and not noted[host] then
    redis.call("SADD", KEYS[8], host)
    noted[host] = true
  end
end

local function put(lane, delay, fields)
  note_host(fields)
  if delay <= 0 then
    redis.call("XADD", KEYS[lane], "*", unpack(fields))
    return
  end
  local serial = redis.call("HINCRBY", KEYS[5], "serial", 1)
  redis.call("ZADD", KEYS[4], now + delay, cjson.encode({ serial, lane, fields }))
  count("delayed", lane, 1)
end

local function take(lane, id)
  return redis.call("XACK", KEYS[lane], group, id) == 1 and redis.call("XDEL", KEYS[lane], id) == 1
end

local run = {}
function run.add(lane, delay, fields, watcher, seen, fingerprint)
  -- The watcher first: what it keeps out must not count as seen.
  if watcher ~= "" and redis.call("HEXISTS", KEYS[6], watcher) == 1 then return 0 end
  if seen > 0 and redis.call("SADD", KEYS[seen], fingerprint) == 0 then return 0 end
  if watcher ~= "" then redis.call("HSET", KEYS[6], watcher, lane) end
  put(lane, delay, fields)
  count("discovered", lane, 1)
  return 1
end
run["return"] = function(lane, id, new_lane, delay, fields)
  if not take(lane, id) then return 0 end
  count("discovered", lane, -1)
  count("discovered", new_lane, 1)
  put(new_lane, delay, fields)
  return 1
end
function run.done(lane, id, outcome, watcher)
  if not take(lane, id) then return 0 end
  if watcher ~= "" then redis.call("HDEL", KEYS[6], watcher) end
  count(outcome, lane, 1)
  return 1
end
function run.dead(lane, id, letter, watcher)
  if run.done(lane, id, "dead", watcher) == 0 then return 0 end
  redis.call("HSET", KEYS[7], redis.call("HINCRBY", KEYS[5], "letters", 1), letter)
  return 1
end

local effects = {}
for i, operation in ipairs(cjson.decode(ARGV[3])) do
  effects[i] = run[table.remove(operation, 1)](unpack(operation))
end
return effects
