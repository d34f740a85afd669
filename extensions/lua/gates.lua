-- Say which gates there are.
--
-- KEYS  1 gates
-- ARGV  1 now in µs, or "" for the server's clock
-- Returns host, and µs until its gate opens (0 when its time is over), of each.
local now, found = now_in_micros(ARGV[1]), {}
for _, host in ipairs(redis.call("HKEYS", KEYS[1])) do
  local till = gate_of(host, now)
  if till then
    table.insert(found, host)
    table.insert(found, math.max(till - now, 0))
  end
end
return found
