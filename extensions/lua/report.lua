-- Tell the breaker of a host how requests went, and trip or close it.
--
-- KEYS  1 gates   2 host   3 hosts
-- ARGV  1 now in µs, or "" for the server's clock   2 name of the host   3 how many went well
--       4 how many failed   5 whether this was the probe   6 errors that trip it (0: any number)
--       7 window in µs   8 share of failures that trips it   9 of how many calls at least
--       10 hold in µs   11 the most it doubles to   12 reason   13 the channel for news
-- Returns {now, µs until the gate opens, "tripped", "closed" or ""}.
local now, successes, failures = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not now then
  local time = redis.call("TIME")
  now = time[1] * 1000000 + time[2]
end
local gate = tonumber(redis.call("HGET", KEYS[1], ARGV[2]) or 0)

local function tell(left, change)
  redis.call("PUBLISH", ARGV[13], cjson.encode({ ARGV[2], left, change }))
end

local function trip()
  local trips = redis.call("HINCRBY", KEYS[2], "trips", 1)
  local hold = math.min(tonumber(ARGV[10]) * 2 ^ math.min(trips - 1, 30), tonumber(ARGV[11]))
  redis.call("HSET", KEYS[1], ARGV[2], string.format("%.0f", math.max(gate, now + hold)))
  redis.call("HSET", KEYS[2], "breaker", "open", "reason", ARGV[12])
  redis.call("SADD", KEYS[3], ARGV[2])
  redis.call("HDEL", KEYS[2], "calls")
  tell(math.max(gate - now, hold), "tripped")
  return { now, math.max(gate - now, hold), "tripped" }
end

local breaker = redis.call("HGET", KEYS[2], "breaker")
if breaker then
  -- Only the probe decides: what else comes back was sent before.
  if breaker ~= "half-open" or ARGV[5] ~= "1" then return { now, math.max(gate - now, 0), "" } end
  if failures > 0 then
    gate = 0
    return trip()
  end
  if successes == 0 then return { now, math.max(gate - now, 0), "" } end
  redis.call("HDEL", KEYS[1], ARGV[2])
  redis.call("HDEL", KEYS[2], "breaker", "trips", "refusals", "calls")
  tell(0, "closed")
  return { now, 0, "closed" }
end

if successes > 0 and gate <= now then redis.call("HDEL", KEYS[2], "refusals") end
-- The window in ten parts, each {number, calls, failures}.
local part, parts = math.floor(now / (tonumber(ARGV[7]) / 10)), {}
local calls, errors = 0, 0
for _, entry in ipairs(cjson.decode(redis.call("HGET", KEYS[2], "calls") or "[]")) do
  if entry[1] > part - 10 then table.insert(parts, entry) end
end
if #parts == 0 or parts[#parts][1] ~= part then table.insert(parts, { part, 0, 0 }) end
parts[#parts][2] = parts[#parts][2] + successes + failures
parts[#parts][3] = parts[#parts][3] + failures
for _, entry in ipairs(parts) do
  calls, errors = calls + entry[2], errors + entry[3]
end
local limit, share, least = tonumber(ARGV[6]), tonumber(ARGV[8]), tonumber(ARGV[9])
local is_share = share > 0 and calls >= least and errors / calls >= share
if failures > 0 and ((limit > 0 and errors >= limit) or is_share) then return trip() end
redis.call("HSET", KEYS[2], "calls", cjson.encode(parts))
return { now, math.max(gate - now, 0), "" }
