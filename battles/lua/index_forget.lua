-- Take one battle out of the index, if its row still names the given place.
--
-- KEYS  1 segment_names   2 count   3 rows bucket
-- ARGV  1 battle's fingerprint   2 segment name   3 offset   4 line
-- Returns 1 when it is out, 0 when it was not in, or lies elsewhere by now.
-- What months and players hold of it does no harm: readers check every entry against its row.
local row = redis.call("HGET", KEYS[3], ARGV[1])
if not row then
  return 0
end
local number, offset, _, line = struct.unpack(">I4I4I4I2", row)
if redis.call("LINDEX", KEYS[1], number) ~= ARGV[2]
  or offset ~= tonumber(ARGV[3]) or line ~= tonumber(ARGV[4]) then
  return 0
end
redis.call("HDEL", KEYS[3], ARGV[1])
redis.call("DECR", KEYS[2])
return 1
