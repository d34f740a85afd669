-- Lease requests to one worker, after moving into the lanes what is due.
--
-- KEYS  1–3 lanes   4 delayed   5 counts   6 state
-- ARGV  1 group   2 worker   3 how many   4 now in ms, or "" for the server's clock
-- Returns the state, and {lane, entry} of each request; none while the queue is paused.
local now, wanted = tonumber(ARGV[4]), tonumber(ARGV[3])
if not now then
  local time = redis.call("TIME")
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local lanes = { KEYS[1], KEYS[2], KEYS[3] }
for _, member in ipairs(redis.call("ZRANGEBYSCORE", KEYS[4], "-inf", now, "LIMIT", 0, 500)) do
  local readable, delayed = pcall(cjson.decode, member)
  -- What makes no sense becomes an entry that makes none, and so a dead letter.
  if not pcall(function()
    redis.call("XADD", lanes[delayed[2]], "*", unpack(delayed[3]))
    redis.call("HINCRBY", KEYS[5], "delayed:" .. delayed[2], -1)
  end) then
    redis.call("XADD", KEYS[1], "*", "delayed", readable and member or "not JSON")
  end
  redis.call("ZREM", KEYS[4], member)
end

local state, leased = redis.call("GET", KEYS[6]) or "", {}
for lane = 1, 3 do
  if state == "paused" or #leased >= wanted then break end
  local reply = redis.call("XREADGROUP", "GROUP", ARGV[1], ARGV[2],
    "COUNT", wanted - #leased, "STREAMS", KEYS[lane], ">")
  for _, entry in ipairs(reply and reply[1][2] or {}) do
    table.insert(leased, { lane, entry })
  end
end
return { state, leased }
