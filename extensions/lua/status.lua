-- Say in one step where every request is.
--
-- KEYS  1–3 lanes   4 delayed   5 counts   6 watchers   7 state   8 dead_letters
--       9 listed   10… seen buckets to throw away if nothing is left
-- ARGV  1 group
-- Returns the state, what is left to do (watchers aside), the number of watchers, of dead letters,
-- the length and the pending count of each lane, the counts, and the number of members of rosters.
local left = redis.call("ZCARD", KEYS[4]) - redis.call("HLEN", KEYS[6])
local lengths, pending = {}, {}
for lane = 1, 3 do
  lengths[lane] = redis.call("XLEN", KEYS[lane])
  pending[lane] = redis.call("XPENDING", KEYS[lane], ARGV[1])[1]
  left = left + lengths[lane]
end
if left == 0 then
  for i = 10, #KEYS do redis.call("UNLINK", KEYS[i]) end
end
return {
  redis.call("GET", KEYS[7]) or "", left, redis.call("HLEN", KEYS[6]),
  redis.call("HLEN", KEYS[8]), lengths, pending, redis.call("HGETALL", KEYS[5]),
  redis.call("HLEN", KEYS[9]),
}
