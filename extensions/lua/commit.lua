-- Put new requests in and take finished ones out: all of it, once, in one step.
--
-- KEYS  1–3 lanes   4 delayed   5 counts   6 watchers   7 dead_letters   8 hosts   9 batch
--       10 families   11 state   12 listed   13 unlisted   14… seen buckets, and what families have seen
-- ARGV  1 group   2 now in ms, or "" for the server's clock   3 the batch's number, or ""
--       4 how long it is remembered, in s   5 the same for a family
--       6 operations as JSON, each one of
--       ["add", lane, delay ms, fields, watcher, seen key or 0, fingerprint, family, is start]
--       ["done", lane, id, outcome, watcher, member]
--       ["return", lane, id, new lane, delay ms, fields, roster, member, stays member, sighting or null]
--       ["dead", lane, id, letter as JSON, watcher, member]
-- The start of a family is refused only while another of the family is here.
-- A sighting is what a watch saw of its roster: {name, takes_new, settle ms, new: [member, note, lane,
-- fields], missing: [member, overdue]}. Members that are missing are asked for when they have settled,
-- unless they are seen again before. A member that is asked for and listed again is not put back.
-- A batch that comes again, since its reply was lost, is answered as the first time. Without that
-- only "add" would happen again: the others take effect once, by whomever they are sent.
-- Returns for each operation 1 when it took effect, else 0.
local group, now = ARGV[1], tonumber(ARGV[2])
if not now then
  local time = redis.call("TIME")
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

if ARGV[3] ~= "" and redis.call("HGET", KEYS[9], "number") == ARGV[3] then
  return cjson.decode(redis.call("HGET", KEYS[9], "effects"))
end

-- Before anything is written: an error in the middle would leave half of it done.
local kinds = {
  "stream", "stream", "stream", "zset", "hash", "hash", "hash", "hash", "hash", "set", "string",
  "hash", "hash",
}
for i, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  if kind ~= "none" and kind ~= (kinds[i] or "set") then
    local wanted = kinds[i] or "set"
    return redis.error_reply("WRONGTYPE " .. key .. " is a " .. kind .. ", not a " .. wanted)
  end
end
local operations = cjson.decode(ARGV[6])

local function count(what, lane, by)
  redis.call("HINCRBY", KEYS[5], what .. ":" .. lane, by)
end

local function put(lane, delay, fields)
  count_host(KEYS[8], delay <= 0 and "lanes" or "delayed", host_of(fields), 1)
  if delay <= 0 then
    redis.call("XADD", KEYS[lane], "*", unpack(fields))
    return ""
  end
  local serial = redis.call("HINCRBY", KEYS[5], "serial", 1)
  local entry = cjson.encode({ serial, lane, fields })
  redis.call("ZADD", KEYS[4], now + delay, entry)
  count("delayed", lane, 1)
  return entry
end

local function take(lane, id)
  if redis.call("XACK", KEYS[lane], group, id) == 0 then return false end
  local entry = redis.call("XRANGE", KEYS[lane], id, id)[1]
  if not entry then return false end
  redis.call("XDEL", KEYS[lane], id)
  count_host(KEYS[8], "lanes", host_of(entry[2]), -1)
  return true
end

local function has_member(lane, family)
  for _, entry in ipairs(redis.call("XRANGE", KEYS[lane], "-", "+")) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == "family" and entry[2][i + 1] == family then return true end
    end
  end
  local wanted = '"family",' .. cjson.encode(family)
  for _, member in ipairs(redis.call("ZRANGE", KEYS[4], 0, -1)) do
    if member:find(wanted, 1, true) then return true end
  end
  return false
end

local function is_overdue(fields)
  for i = 1, #fields, 2 do
    if fields[i] == "overdue" then return true end
  end
  return false
end

-- Take back a request that waits until its member has settled; false if it is under way, or given up
-- while no new members are taken.
local function take_back(member, takes_new)
  local entry = redis.call("HGET", KEYS[13], member)
  local is_read, delayed = pcall(cjson.decode, entry or "")
  if not is_read or (not takes_new and is_overdue(delayed[3])) then return false end
  if redis.call("ZREM", KEYS[4], entry) == 0 then return false end
  count("delayed", delayed[2], -1)
  count("discovered", delayed[2], -1)
  count_host(KEYS[8], "delayed", host_of(delayed[3]), -1)
  redis.call("HDEL", KEYS[13], member)
  return true
end

local function see_new(sighting, member, note, lane, fields)
  local field = sighting.name .. " " .. member
  local takes_new = sighting.takes_new and redis.call("GET", KEYS[11]) ~= "draining"
  local text, is_back = redis.call("HGET", KEYS[12], field), take_back(member, takes_new)
  local is_read, known = pcall(cjson.decode, text or "")
  if is_read then
    redis.call("HSET", KEYS[12], field, cjson.encode({ known[1], note, lane, fields }))
  elseif is_back or takes_new then
    redis.call("HSET", KEYS[12], field, cjson.encode({ now, note, lane, fields }))
  end
end

local function miss(sighting, member, is_given_up)
  local field = sighting.name .. " " .. member
  local text = redis.call("HGET", KEYS[12], field)
  redis.call("HDEL", KEYS[12], field)
  local is_read, known = pcall(cjson.decode, text or "")
  if not is_read or redis.call("HEXISTS", KEYS[13], member) == 1 then return end
  local lane, fields, delay = known[3], known[4], sighting.settle
  if is_given_up then
    table.insert(fields, "overdue")
    table.insert(fields, "1")
    delay = 0
  end
  redis.call("HSET", KEYS[13], member, put(lane, delay, fields))
  count("discovered", lane, 1)
end

local function see(sighting)
  for _, new in ipairs(sighting.new) do see_new(sighting, unpack(new)) end
  for _, missing in ipairs(sighting.missing) do miss(sighting, unpack(missing)) end
end

local run = {}
function run.add(lane, delay, fields, watcher, seen, fingerprint, family, is_start)
  -- The watcher first: what it keeps out must not count as seen.
  if watcher ~= "" and redis.call("HEXISTS", KEYS[6], watcher) == 1 then return 0 end
  if is_start then
    if has_member(lane, family) then return 0 end
    redis.call("UNLINK", KEYS[seen])
  end
  if seen > 0 and redis.call("SADD", KEYS[seen], fingerprint) == 0 then return 0 end
  if family ~= "" then
    redis.call("EXPIRE", KEYS[seen], ARGV[5])
    redis.call("SADD", KEYS[10], family)
  end
  if watcher ~= "" then redis.call("HSET", KEYS[6], watcher, lane) end
  put(lane, delay, fields)
  count("discovered", lane, 1)
  return 1
end
run["return"] = function(lane, id, new_lane, delay, fields, roster, member, stays, sighting)
  if not take(lane, id) then return 0 end
  count("discovered", lane, -1)
  if stays and redis.call("HEXISTS", KEYS[12], roster .. " " .. member) == 1 then
    redis.call("HDEL", KEYS[13], member)
    return 1
  end
  count("discovered", new_lane, 1)
  local entry = put(new_lane, delay, fields)
  if stays then
    redis.call("HSET", KEYS[13], member, entry)
  elseif member ~= "" then
    redis.call("HDEL", KEYS[13], member)
  end
  if sighting ~= cjson.null then see(sighting) end
  return 1
end
function run.done(lane, id, outcome, watcher, member)
  if not take(lane, id) then return 0 end
  if member ~= "" then redis.call("HDEL", KEYS[13], member) end
  if watcher ~= "" then redis.call("HDEL", KEYS[6], watcher) end
  count(outcome, lane, 1)
  return 1
end
function run.dead(lane, id, letter, watcher, member)
  if run.done(lane, id, "dead", watcher, member) == 0 then return 0 end
  redis.call("HSET", KEYS[7], redis.call("HINCRBY", KEYS[5], "letters", 1), letter)
  count_host(KEYS[8], "dead", host_of(cjson.decode(letter).fields), 1)
  return 1
end

local effects = {}
for i, operation in ipairs(operations) do
  effects[i] = run[table.remove(operation, 1)](unpack(operation))
end
if ARGV[3] ~= "" then
  redis.call("HSET", KEYS[9], "number", ARGV[3], "effects", cjson.encode(effects))
  redis.call("EXPIRE", KEYS[9], ARGV[4])
end
return effects
