-- Look battles up, with the names of their segments: both of one index, whenever another takes its
-- place.
--
-- KEYS  1 segment_names   2… rows buckets
-- ARGV  1… the battles' fingerprints, one for each bucket
-- Returns for each battle its row and its segment's name, or nil when one of them is not there.
local names, found = {}, {}
for i, mark in ipairs(ARGV) do
  local row = redis.call("HGET", KEYS[i + 1], mark)
  found[i] = false
  if row then
    local number = struct.unpack(">I4", row)
    names[number] = names[number] or redis.call("LINDEX", KEYS[1], number)
    found[i] = names[number] and { row, names[number] }
  end
end
return found
