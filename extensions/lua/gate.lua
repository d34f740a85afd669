-- What the scripts of the hosts share: the clock, and the gates. KEYS[1] of each is the hash of gates.

local function now_in_micros(given)
  if given ~= "" then return tonumber(given) end
  local time = redis.call("TIME")
  return time[1] * 1000000 + time[2]
end

local function close_gate(host, now, till)
  redis.call("HSET", KEYS[1], host, string.format("%.0f %.0f", till, till - now))
end

-- A field of a hash that holds until when something lasts, and for how long; or nil. Nothing lasts
-- for longer than somebody asked for: where it seems to, the clock was set back.
local function lasts_until(key, field, now)
  local text = redis.call("HGET", key, field)
  if not text then return nil end
  local till, span = text:match("^(%d+) (%d+)$")
  if not till then
    redis.call("HDEL", key, field)
    return nil
  end
  till, span = tonumber(till), tonumber(span)
  if till > now + span then
    till = now + span
    redis.call("HSET", key, field, string.format("%.0f %.0f", till, span))
  end
  return till
end

-- Until when a gate is closed, or nil.
local function gate_of(host, now)
  return lasts_until(KEYS[1], host, now)
end
