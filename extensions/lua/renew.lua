-- Renew the leases that a worker still has.
--
-- KEYS  1–3 lanes
-- ARGV  1 group   2 worker   3 idle ms the leases get: 0 renews them, more than a lease gives them
--       back   4 what to add to the count of deliveries   5… lane and id of each
-- Returns the positions, from 0, of those that another worker took over: they are left to it.
local lost = {}
for i = 5, #ARGV, 2 do
  local lane, id = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  local held = redis.call("XPENDING", lane, ARGV[1], id, id, 1, ARGV[2])[1]
  if held then
    redis.call("XCLAIM", lane, ARGV[1], ARGV[2], 0, id,
      "IDLE", ARGV[3], "RETRYCOUNT", held[4] + ARGV[4], "JUSTID")
  else
    table.insert(lost, (i - 5) / 2)
  end
end
return lost
