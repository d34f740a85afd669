-- Put dead letters back into the queue, or drop them.
--
-- KEYS  1–3 lanes   4 dead_letters   5 counts   6 watchers   7 hosts
-- ARGV  1 "requeue" or "drop"   2… numbers of letters
-- Returns the numbers of those that were there; a letter whose request cannot be read stays. One
-- whose watcher is back in the queue meanwhile is dropped: there never are two of a name.
local function watcher_of(fields)
  for i = 1, #fields, 2 do
    if fields[i] == "watcher" then return fields[i + 1] end
  end
end

local function settle(letter)
  local watcher = watcher_of(letter.fields)
  if ARGV[1] == "drop" or watcher and redis.call("HSETNX", KEYS[6], watcher, letter.lane) == 0 then
    redis.call("HINCRBY", KEYS[5], "dropped:" .. letter.lane, 1)
  else
    redis.call("XADD", KEYS[letter.lane], "*", unpack(letter.fields))
    count_host(KEYS[7], "lanes", host_of(letter.fields), 1)
  end
  count_host(KEYS[7], "dead", host_of(letter.fields), -1)
end

local outcome = {}
for i = 2, #ARGV do
  local text = redis.call("HGET", KEYS[4], ARGV[i])
  local letter = text and cjson.decode(text)
  if letter and (ARGV[1] == "drop" or #letter.fields > 0) then
    settle(letter)
    redis.call("HDEL", KEYS[4], ARGV[i])
    redis.call("HINCRBY", KEYS[5], "dead:" .. letter.lane, -1)
    table.insert(outcome, ARGV[i])
  end
end
return outcome
