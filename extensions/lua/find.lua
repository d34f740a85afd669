-- Look through a part of a lane for requests whose address contains a text.
--
-- KEYS  1 lane
-- ARGV  1 the id to begin at, or "-"   2 how many entries to look at   3 text
-- Returns the id of the last entry that was looked at (empty when there is none any more), and the
-- entries that were found.
local found, last = {}, ""
for _, entry in ipairs(redis.call("XRANGE", KEYS[1], ARGV[1], "+", "COUNT", ARGV[2])) do
  last = entry[1]
  for i = 1, #entry[2], 2 do
    if entry[2][i] == "url" and entry[2][i + 1]:find(ARGV[3], 1, true) then
      table.insert(found, entry)
      break
    end
  end
end
return { last, found }
