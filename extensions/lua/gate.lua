-- What the scripts of the hosts share: the clock, and the gates. KEYS[1] of each is the hash of gates.

local function now_in_micros(given)
  if given ~= "" then return tonumber(given) end
  local time = redis.call("TIME")
  return time[1] * 1000000 + time[2]
end

local function close_gate(host, now, till)
  redis.call("HSET", KEYS[1], host, string.format("%.0f %.0f", till, till - now))
end

-- Until when a gate is closed, or nil. None is closed for longer than somebody asked for: where it
-- seems to be, the clock was set back.
local function gate_of(host, now)
  local text = redis.call("HGET", KEYS[1], host)
  if not text then return nil end
  local till, span = text:match("^(%d+) (%d+)$")
  if not till then
    redis.call("HDEL", KEYS[1], host)
    return nil
  end
  till, span = tonumber(till), tonumber(span)
  if till > now + span then
    till = now + span
    close_gate(host, now, till)
  end
  return till
end
