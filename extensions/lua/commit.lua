-- Put new requests in and take finished ones out: all of it, once, in one step.
--
-- KEYS  1–3 lanes   4 delayed   5 counts   6 watchers   7 dead_letters   8 hosts   9 batch
--       10 families   11… seen buckets, and what families have seen
-- ARGV  1 group   2 now in ms, or "" for the server's clock   3 the batch's number, or ""
--       4 how long it is remembered, in s   5 the same for a family
--       6 operations as JSON, each one of
--       ["add", lane, delay ms, fields, watcher, seen key or 0, fingerprint, family, is start]
--       ["done", lane, id, outcome, watcher]
--       ["return", lane, id, new lane, delay ms, fields]
--       ["dead", lane, id, letter as JSON, watcher]
-- The start of a family is refused only while another of the family is here.
-- A batch that comes again, since its reply was lost, is answered as the first time. Without that
-- only "add" would happen again: the others take effect once, by whomever they are sent.
-- Returns for each operation 1 when it took effect, else 0.
local group, now = ARGV[1], tonumber(ARGV[2])
if not now then
  local time = redis.call("TIME")
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

if ARGV[3] ~= "" and redis.call("HGET", KEYS[9], "number") == ARGV[3] then
  return cjson.decode(redis.call("HGET", KEYS[9], "effects"))
end

-- Before anything is written: an error in the middle would leave half of it done.
local kinds = { "stream", "stream", "stream", "zset", "hash", "hash", "hash", "hash", "hash", "set" }
for i, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  if kind ~= "none" and kind ~= (kinds[i] or "set") then
    local wanted = kinds[i] or "set"
    return redis.error_reply("WRONGTYPE " .. key .. " is a " .. kind .. ", not a " .. wanted)
  end
end
local operations = cjson.decode(ARGV[6])

local function count(what, lane, by)
  redis.call("HINCRBY", KEYS[5], what .. ":" .. lane, by)
end

local function put(lane, delay, fields)
  count_host(KEYS[8], delay <= 0 and "lanes" or "delayed", host_of(fields), 1)
  if delay <= 0 then
    redis.call("XADD", KEYS[lane], "*", unpack(fields))
    return
  end
  local serial = redis.call("HINCRBY", KEYS[5], "serial", 1)
  redis.call("ZADD", KEYS[4], now + delay, cjson.encode({ serial, lane, fields }))
  count("delayed", lane, 1)
end

local function take(lane, id)
  if redis.call("XACK", KEYS[lane], group, id) == 0 then return false end
  local entry = redis.call("XRANGE", KEYS[lane], id, id)[1]
  if not entry then return false end
  redis.call("XDEL", KEYS[lane], id)
  count_host(KEYS[8], "lanes", host_of(entry[2]), -1)
  return true
end

local function has_member(lane, family)
  for _, entry in ipairs(redis.call("XRANGE", KEYS[lane], "-", "+")) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == "family" and entry[2][i + 1] == family then return true end
    end
  end
  local wanted = '"family",' .. cjson.encode(family)
  for _, member in ipairs(redis.call("ZRANGE", KEYS[4], 0, -1)) do
    if member:find(wanted, 1, true) then return true end
  end
  return false
end

local run = {}
function run.add(lane, delay, fields, watcher, seen, fingerprint, family, is_start)
  -- The watcher first: what it keeps out must not count as seen.
  if watcher ~= "" and redis.call("HEXISTS", KEYS[6], watcher) == 1 then return 0 end
  if is_start then
    if has_member(lane, family) then return 0 end
    redis.call("UNLINK", KEYS[seen])
  end
  if seen > 0 and redis.call("SADD", KEYS[seen], fingerprint) == 0 then return 0 end
  if family ~= "" then
    redis.call("EXPIRE", KEYS[seen], ARGV[5])
    redis.call("SADD", KEYS[10], family)
  end
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
  count_host(KEYS[8], "dead", host_of(cjson.decode(letter).fields), 1)
  return 1
end

local effects = {}
for i, operation in ipairs(operations) do
  effects[i] = run[table.remove(operation, 1)](unpack(operation))
end
if ARGV[3] ~= "" then
  redis.call("HSET", KEYS[9], "number", ARGV[3], "effects", cjson.encode(effects))
  redis.call("EXPIRE", KEYS[9], ARGV[4])
end
return effects
