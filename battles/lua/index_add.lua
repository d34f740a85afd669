-- Put one battle into the index, unless a later copy of it is there already.
--
-- KEYS  1 segments   2 segment_names   3 months   4 count   5 additions   6 withdrawn
--       7 rows bucket   8 month   9… players
-- ARGV  1 battle's fingerprint   2 segment name   3 row without its segment number
--       4 FORMATID:YYYYMM   5 entry for the month   6… entry for each player
-- A row is: segment (4) offset (4) length (4) line (2) fetched (4) time (4) rating (2) id.
-- Returns 1 when the battle is new, 2 when its row was replaced, 0 when the row there is later, or
-- the battle was withdrawn later.
-- Whoever builds an index beside this one has begun the list, and repeats there what is in it.
if redis.call("EXISTS", KEYS[5]) == 1 then
  local addition = {}
  for i, argument in ipairs(ARGV) do
    addition[i] = struct.pack(">I4", #argument) .. argument
  end
  redis.call("RPUSH", KEYS[5], table.concat(addition))
end

-- Also a segment of which every battle has a later copy is known, so that nobody reads it again.
local segment = redis.call("HGET", KEYS[1], ARGV[2])
if not segment then
  segment = redis.call("RPUSH", KEYS[2], ARGV[2]) - 1
  redis.call("HSET", KEYS[1], ARGV[2], segment)
end

-- Bytes 11 to 14 of the argument say when it was fetched; the times compare as strings.
local withdrawn = redis.call("HGET", KEYS[6], ARGV[1])
if withdrawn and withdrawn >= string.sub(ARGV[3], 11, 14) then
  return 0
end
local old = redis.call("HGET", KEYS[7], ARGV[1])
-- Bytes 11 to 14 of the argument, 15 to 18 of the row: big-endian, so they compare as strings.
if old and string.sub(old, 15, 18) > string.sub(ARGV[3], 11, 14) then
  return 0
end
local row = struct.pack(">I4", segment) .. ARGV[3]
if row == old then
  return 2
end
redis.call("HSET", KEYS[7], ARGV[1], row)

-- Readers check every entry against the row, so what an older row left behind does no harm.
redis.call("SADD", KEYS[3], ARGV[4])
for i = 8, #KEYS do
  local entry = ARGV[i - 3]
  if not old or not string.find(redis.call("GET", KEYS[i]) or "", entry, 1, true) then
    redis.call("APPEND", KEYS[i], entry)
  end
end
if old then
  return 2
end
redis.call("INCR", KEYS[4])
return 1
