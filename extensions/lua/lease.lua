-- Lease requests to one worker, after moving into the lanes what is due.
--
-- KEYS  1–3 lanes   4 delayed   5 counts   6 state   7 hosts   8 about
-- ARGV  1 group   2 worker   3 how many   4 now in ms, or "" for the server's clock
--       5 waiting downloads beyond which nothing is discovered (0: any number)
--       6… hosts whose gates are closed, each with the ms until its gate opens
-- Returns the state, {lane, entry} of each request, and the queue's epoch. No request is leased while
-- the queue is paused, and none for a host whose gate is closed.
local now, wanted, high_water = tonumber(ARGV[4]), tonumber(ARGV[3]), tonumber(ARGV[5])
if not now then
  local time = redis.call("TIME")
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local lanes = { KEYS[1], KEYS[2], KEYS[3] }

-- When the clock was set back, all would wait for that much longer: what is delayed, and what the
-- dead hold.
local function set_back(by)
  local delayed = redis.call("ZRANGE", KEYS[4], 0, -1, "WITHSCORES")
  for i = 1, #delayed, 2 do redis.call("ZINCRBY", KEYS[4], -by, delayed[i]) end
  for _, lane in ipairs(lanes) do
    for _, held in ipairs(redis.call("XPENDING", lane, ARGV[1], "-", "+", 1000000)) do
      redis.call("XCLAIM", lane, ARGV[1], held[2], 0, held[1],
        "IDLE", 0, "RETRYCOUNT", held[4], "JUSTID")
    end
  end
end

local before = tonumber(redis.call("HGET", KEYS[5], "clock") or 0)
if before > now + 1000 then set_back(before - now) end
if math.abs(now - before) >= 1000 then redis.call("HSET", KEYS[5], "clock", now) end

for _, member in ipairs(redis.call("ZRANGEBYSCORE", KEYS[4], "-inf", now, "LIMIT", 0, 500)) do
  local readable, delayed = pcall(cjson.decode, member)
  -- What makes no sense becomes an entry that makes none, and so a dead letter.
  if not pcall(function()
    redis.call("XADD", lanes[delayed[2]], "*", unpack(delayed[3]))
    redis.call("HINCRBY", KEYS[5], "delayed:" .. delayed[2], -1)
    count_host(KEYS[7], "delayed", host_of(delayed[3]), -1)
    count_host(KEYS[7], "lanes", host_of(delayed[3]), 1)
  end) then
    redis.call("XADD", KEYS[1], "*", "delayed", readable and member or "not JSON")
    redis.call("HINCRBY", KEYS[5], "discovered:1", 1)
  end
  redis.call("ZREM", KEYS[4], member)
end

local closed, is_any_closed = {}, #ARGV > 5
for i = 6, #ARGV, 2 do closed[ARGV[i]] = now + tonumber(ARGV[i + 1]) end
local is_all_closed = false
if is_any_closed then
  local counted = redis.call("HKEYS", KEYS[7])
  is_all_closed = #counted > 0
  for _, field in ipairs(counted) do
    local where, host = field:match("^(%S+) (.*)$")
    is_all_closed = is_all_closed and (where == "dead" or closed[host] ~= nil)
  end
end

local function put_off(lane, entry, till)
  redis.call("XACK", KEYS[lane], ARGV[1], entry[1])
  redis.call("XDEL", KEYS[lane], entry[1])
  local serial, host = redis.call("HINCRBY", KEYS[5], "serial", 1), host_of(entry[2])
  -- Not longer than a minute: the gate may be opened before its time.
  redis.call("ZADD", KEYS[4], math.min(till, now + 60000), cjson.encode({ serial, lane, entry[2] }))
  redis.call("HINCRBY", KEYS[5], "delayed:" .. lane, 1)
  count_host(KEYS[7], "lanes", host, -1)
  count_host(KEYS[7], "delayed", host, 1)
end

local function is_flooded()
  local is_known = redis.call("HEXISTS", KEYS[5], "flooded") == 1
  if high_water == 0 and not is_known then return false end
  local waiting = redis.call("XLEN", KEYS[2])
  waiting = waiting + tonumber(redis.call("HGET", KEYS[5], "delayed:2") or 0)
  if waiting > high_water and high_water > 0 then
    redis.call("HSET", KEYS[5], "flooded", 1)
    return true
  end
  if is_known and (waiting < high_water / 2 or waiting == 0 or high_water == 0) then
    redis.call("HDEL", KEYS[5], "flooded")
    return false
  end
  return is_known
end

local state, leased, put_off_now = redis.call("GET", KEYS[6]) or "", {}, 0
for lane = (is_flooded() and 2 or 1), 3 do
  if state == "paused" or is_all_closed then break end
  -- Others wait behind what cannot be sent now, so that goes aside until it can.
  while #leased < wanted and put_off_now < 500 do
    local reply = redis.call("XREADGROUP", "GROUP", ARGV[1], ARGV[2],
      "COUNT", wanted - #leased, "STREAMS", KEYS[lane], ">")
    if not reply then break end
    for _, entry in ipairs(reply[1][2]) do
      local till = closed[host_of(entry[2])]
      if till then
        put_off(lane, entry, till)
        put_off_now = put_off_now + 1
      else
        table.insert(leased, { lane, entry })
      end
    end
    if not is_any_closed then break end
  end
end
return { state, leased, redis.call("HGET", KEYS[8], "epoch") or "" }
