-- Permit the next requests to a host, each at a time of its own (GCRA).
--
-- KEYS  1 gates   2 host   3 flight   4 hosts
-- ARGV  1 now in µs, or "" for the server's clock   2 name of the host   3 how many are wanted
--       4 requests a second (0: any)   5 burst   6 at once (0: any)
--       7 how far ahead in µs   8 how long a probe may take in µs   9 how long a request may take
--       10… numbers of permits that are done with
-- Returns {now, µs until the gate opens (0: it is open), 1 if this is a probe and 2 if another is on
--          its way, the first number, the times in µs, µs until asking for the rest makes sense}.
local now, wanted = now_in_micros(ARGV[1]), tonumber(ARGV[3])
for i = 10, #ARGV do redis.call("ZREM", KEYS[3], ARGV[i]) end
if redis.call("SADD", KEYS[4], ARGV[2]) == 1 then redis.call("HSET", KEYS[2], "since", now) end

local gate, is_probe = gate_of(ARGV[2], now), 0
if gate and gate > now then
  local is_probed = redis.call("HGET", KEYS[2], "breaker") == "half-open"
  return { now, gate - now, is_probed and 2 or 0, 0, {}, 0 }
end
if gate and wanted > 0 then
  if redis.call("HGET", KEYS[2], "breaker") then
    -- One for the whole fleet: to everybody else the host stays closed until the probe is judged.
    is_probe, wanted = 1, 1
    close_gate(ARGV[2], now, now + tonumber(ARGV[8]))
    redis.call("HSET", KEYS[2], "breaker", "half-open")
  else
    redis.call("HDEL", KEYS[1], ARGV[2])
  end
end

local own = redis.call("HMGET", KEYS[2], "rate", "crawl_delay", "due")
local rate, concurrency = tonumber(own[1] or ARGV[4]), tonumber(ARGV[6])
local interval = rate > 0 and math.min(1000000 / rate, 86400000000) or 0
interval = math.max(interval, tonumber(own[2] or 0) * 1000000)
local allowance = (tonumber(ARGV[5]) - 1) * interval
-- Nothing is ever due later than this by the limit that holds now: what is was promised by a lower
-- one, or by a clock that was set back since. It is not waited for.
local due, latest = tonumber(own[3] or now), now + tonumber(ARGV[7]) + allowance + interval
if due > latest then
  due = latest
  redis.call("HSET", KEYS[2], "due", string.format("%.0f", due))
end
local wait = 0
if is_probe == 1 then due = math.min(due, now) end
if concurrency > 0 and is_probe == 0 then
  redis.call("ZREMRANGEBYSCORE", KEYS[3], "-inf", now)
  -- What ends later than any request can was counted before the clock was set back.
  local last = now + tonumber(ARGV[7]) + tonumber(ARGV[9])
  redis.call("ZREMRANGEBYSCORE", KEYS[3], string.format("(%.0f", last), "+inf")
  local free = concurrency - redis.call("ZCARD", KEYS[3])
  if free < wanted then wanted, wait = free, 20000 end
end

local times = {}
for i = 1, wanted do
  local at = math.max(now, due - allowance)
  if at - now > tonumber(ARGV[7]) then
    wait = math.max(wait, at - now - tonumber(ARGV[7]))
    break
  end
  due = math.max(due, at) + interval
  times[i] = string.format("%.0f", at)
end
if #times == 0 then return { now, 0, 0, 0, {}, wait } end
redis.call("HSET", KEYS[2], "due", string.format("%.0f", due))
redis.call("HINCRBY", KEYS[2], "begun", #times)
-- A ring of ten seconds each, so that they are never more than a handful.
local bucket = math.floor(now / 10000000)
local field = "begun:" .. bucket % 7
local number, count = (redis.call("HGET", KEYS[2], field) or ""):match("^(%d+) (%d+)$")
count = (tonumber(number) == bucket and tonumber(count) or 0) + #times
redis.call("HSET", KEYS[2], field, string.format("%.0f %.0f", bucket, count))
local last = redis.call("HINCRBY", KEYS[2], "serial", #times)
if concurrency > 0 then
  for i = 1, #times do
    redis.call("ZADD", KEYS[3], times[i] + tonumber(ARGV[9]), last - #times + i)
  end
end
return { now, 0, is_probe, last - #times + 1, times, wait }
