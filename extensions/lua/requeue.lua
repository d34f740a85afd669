-- Put dead letters back into the queue, or drop them.
--
-- KEYS  1–3 lanes   4 dead_letters   5 counts
-- ARGV  1 "requeue" or "drop"   2… numbers of letters
-- Returns the numbers of those that were there; a letter whose request cannot be read stays.
local outcome = {}
for i = 2, #ARGV do
  local text = redis.call("HGET", KEYS[4], ARGV[i])
  local letter = text and cjson.decode(text)
  local lane = letter and letter.lane
  if letter and (ARGV[1] == "drop" or #letter.fields > 0) then
    redis.call("HDEL", KEYS[4], ARGV[i])
    redis.call("HINCRBY", KEYS[5], "dead:" .. lane, -1)
    if ARGV[1] == "drop" then
      redis.call("HINCRBY", KEYS[5], "dropped:" .. lane, 1)
    else
      redis.call("XADD", KEYS[lane], "*", unpack(letter.fields))
    end
    table.insert(outcome, ARGV[i])
  end
end
return outcome
