-- What the scripts of the queue share: which host a request is for, and how many there are for each.

-- As requests are written, the address comes first.
local function host_of(fields)
  local host = fields[1] == "url" and tostring(fields[2]):match("^[^:/]+://([^/?#]*)")
  return host and host:match("[^@]*$"):lower() or "?"
end

-- Where: `lanes`, `delayed` or `dead`. What nobody counted when it came is not counted below zero.
local function count_host(key, where, host, by)
  local field = where .. " " .. host
  if redis.call("HINCRBY", key, field, by) <= 0 then redis.call("HDEL", key, field) end
end
