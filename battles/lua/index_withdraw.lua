-- Take one battle out of the index, and keep out what was fetched of it before.
--
-- KEYS  1 withdrawn   2 count   3 rows bucket
-- ARGV  1 battle's fingerprint   2 when it was withdrawn, 4 bytes, big-endian
-- Returns 1 when it was in, else 0.
local before = redis.call("HGET", KEYS[1], ARGV[1])
if not before or before < ARGV[2] then
  redis.call("HSET", KEYS[1], ARGV[1], ARGV[2])
end
local row = redis.call("HGET", KEYS[3], ARGV[1])
if not row or string.sub(row, 15, 18) > ARGV[2] then
  return 0
end
redis.call("HDEL", KEYS[3], ARGV[1])
redis.call("DECR", KEYS[2])
return 1
