-- Close the gate of a host because it asked for it.
--
-- KEYS  1 gates   2 host   3 hosts
-- ARGV  1 now in µs, or "" for the server's clock   2 name of the host   3 reason
--       4 µs that the host asked for, or "" if it did not say   5 µs to hold if it did not say
--       6 the most µs to hold   7 the channel for news   8 whether it refused the probe
-- Returns {now, µs until the gate opens}.
local now, asked = now_in_micros(ARGV[1]), tonumber(ARGV[4])
local gate, breaker = gate_of(ARGV[2], now) or 0, redis.call("HGET", KEYS[2], "breaker")
redis.call("SADD", KEYS[3], ARGV[2])
if breaker == "half-open" and ARGV[8] == "1" then
  -- The next one goes when the host says so. What was sent before the probe decides nothing of it.
  redis.call("HSET", KEYS[2], "breaker", "open")
  gate = 0
end
if not asked then
  -- Many requests are refused at once: only the first of them counts.
  if gate > now and not breaker then return { now, gate - now } end
  local times = redis.call("HINCRBY", KEYS[2], "refusals", 1)
  asked = tonumber(ARGV[5]) * 2 ^ math.min(times - 1, 30)
end
local wished = now + math.min(asked, tonumber(ARGV[6]))
local till = math.max(gate, wished)
close_gate(ARGV[2], now, till)
redis.call("HSET", KEYS[2], "reason", ARGV[3],
  "wished", string.format("%.0f %.0f", wished, wished - now))
redis.call("PUBLISH", ARGV[7], cjson.encode({ ARGV[2], till - now }))
return { now, till - now }
