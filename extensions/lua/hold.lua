-- Close the gate of a host because it asked for it.
--
-- KEYS  1 gates   2 host   3 hosts
-- ARGV  1 now in µs, or "" for the server's clock   2 name of the host   3 reason
--       4 µs that the host asked for, or "" if it did not say   5 µs to hold if it did not say
--       6 the most µs to hold   7 the channel for news
-- Returns {now, µs until the gate opens}.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call("TIME")
  now = time[1] * 1000000 + time[2]
end
local gate, asked = tonumber(redis.call("HGET", KEYS[1], ARGV[2]) or 0), tonumber(ARGV[4])
redis.call("SADD", KEYS[3], ARGV[2])
if redis.call("HGET", KEYS[2], "breaker") == "half-open" then
  -- The probe was refused: the next one goes when the host says so.
  redis.call("HSET", KEYS[2], "breaker", "open")
  gate = 0
end
local is_closed = gate > now
if not asked then
  -- Many requests are refused at once: only the first of them counts.
  if is_closed and not redis.call("HGET", KEYS[2], "breaker") then return { now, gate - now } end
  local times = redis.call("HINCRBY", KEYS[2], "refusals", 1)
  asked = tonumber(ARGV[5]) * 2 ^ math.min(times - 1, 30)
end
local till = math.max(gate, now + math.min(asked, tonumber(ARGV[6])))
redis.call("HSET", KEYS[1], ARGV[2], string.format("%.0f", till))
redis.call("HSET", KEYS[2], "reason", ARGV[3])
redis.call("PUBLISH", ARGV[7], cjson.encode({ ARGV[2], till - now }))
return { now, till - now }
