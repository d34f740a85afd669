-- Tell the breaker of a host how a worker's requests went, and trip or close it.
--
-- KEYS  1 gates   2 host   3 hosts
-- ARGV  1 now in µs, or "" for the server's clock   2 name of the host   3 the channel for news
--       4 worker   5 how many went well   6 how many failed   7 µs since what failed began
--       8 whether this was the probe   9 reason
--       10 errors that trip it (0: any number), if they are also   11 this share of what was asked
--       12 window in µs   13 share of failures that trips it   14 of how many calls at least
--       15 hold in µs   16 the most it doubles to   17 µs after which what went well is told of
-- Returns {now, µs until the gate opens, what changed, calls and failures within the window}.
-- What changed: "tripped", "closed" or "". "alone": it is this worker that fails, and the others do
-- not. "unsure": they have not told yet.
local now, worker, successes, failures = now_in_micros(ARGV[1]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local limit, floor, window = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local share, least, told_after = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[17])
local gate = gate_of(ARGV[2], now) or 0

local function answer(till, change, calls, errors)
  return { now, math.max(till - now, 0), change, calls or 0, errors or 0 }
end

local function tell(till, change)
  redis.call("PUBLISH", ARGV[3], cjson.encode({ ARGV[2], math.max(till - now, 0), change }))
  return answer(till, change)
end

local function trip()
  local trips = redis.call("HINCRBY", KEYS[2], "trips", 1)
  local hold = math.min(tonumber(ARGV[15]) * 2 ^ math.min(trips - 1, 30), tonumber(ARGV[16]))
  local till = math.max(gate, now + hold)
  close_gate(ARGV[2], now, till)
  redis.call("HSET", KEYS[2], "breaker", "open", "reason", ARGV[9])
  redis.call("SADD", KEYS[3], ARGV[2])
  redis.call("HDEL", KEYS[2], "calls")
  return tell(till, "tripped")
end

local function close()
  -- Somebody may have been asked to stay away while the probe was on its way.
  local wished = lasts_until(KEYS[2], "wished", now) or 0
  redis.call("HDEL", KEYS[1], ARGV[2])
  redis.call("HDEL", KEYS[2], "breaker", "trips", "calls")
  if wished > now then
    close_gate(ARGV[2], now, wished)
  else
    redis.call("HDEL", KEYS[2], "refusals")
  end
  return tell(wished, "closed")
end

local breaker = redis.call("HGET", KEYS[2], "breaker")
if breaker then
  -- Only the probe decides: what else comes back was sent before.
  if breaker ~= "half-open" or ARGV[8] ~= "1" then return answer(gate, "") end
  if failures > 0 then
    -- The gate was the probe's. What the host asked for meanwhile counts.
    gate = lasts_until(KEYS[2], "wished", now) or 0
    return trip()
  end
  if successes == 0 then return answer(gate, "") end
  return close()
end

if successes > 0 and gate <= now then redis.call("HDEL", KEYS[2], "refusals") end

-- `parts`: the window in ten, each {number, {worker: {calls, failures}}}. `row`: failures since
-- anybody's last success; `rows`: {how many, when the first began} by worker, since its own last;
-- `well`: when each worker last told of a success. Milliseconds: more digits JSON does not keep.
local text = redis.call("HGET", KEYS[2], "calls")
local told = text and cjson.decode(text) or { parts = {}, row = 0, rows = {}, well = {} }
local part, ms, parts, well = math.floor(now / (window / 10)), math.floor(now / 1000), {}, {}
for _, entry in ipairs(told.parts) do
  -- Of a time to come is what was counted before the clock was set back.
  if entry[1] > part - 10 and entry[1] <= part then table.insert(parts, entry) end
end
for other, at in pairs(told.well) do
  if at > ms - window / 1000 and at <= ms then well[other] = at end
end
if #parts == 0 or parts[#parts][1] ~= part then table.insert(parts, { part, {} }) end
local own = parts[#parts][2][worker] or { 0, 0 }
parts[#parts][2][worker] = { own[1] + successes + failures, own[2] + failures }
if successes > 0 then
  well[worker], told.row, told.rows[worker] = ms, 0, nil
end
if failures > 0 then
  local row = told.rows[worker] or { 0, ms - math.floor(tonumber(ARGV[7]) / 1000) }
  told.row, told.rows[worker] = told.row + failures, { row[1] + failures, row[2] }
end
for other in pairs(told.rows) do
  if not well[other] and other ~= worker then
    -- Long gone, unless it has only failed within the window.
    local is_known = false
    for _, entry in ipairs(parts) do is_known = is_known or entry[2][other] ~= nil end
    if not is_known then told.rows[other] = nil end
  end
end

local calls, errors, own_calls, own_errors = 0, 0, 0, 0
for _, entry in ipairs(parts) do
  for name, counted in pairs(entry[2]) do
    calls, errors = calls + counted[1], errors + counted[2]
    if name == worker then
      own_calls, own_errors = own_calls + counted[1], own_errors + counted[2]
    end
  end
end

local function last_well_of_others()
  local last = 0
  for other, at in pairs(well) do
    if other ~= worker and at > last then last = at end
  end
  return last
end

local function is_too_much(failed, asked)
  local is_many = limit > 0 and failed >= limit and failed >= floor * asked
  return is_many or (share > 0 and asked >= least and failed / asked >= share)
end

local function judge()
  if failures == 0 then return "" end
  local row, told_ms, others_well = told.rows[worker], told_after / 1000, last_well_of_others()
  if limit > 0 and row[1] >= limit then
    -- What was well before this row began may have been told of only a while later.
    if others_well > row[2] + 3 * told_ms then return "alone" end
    if told.row >= limit and told.row == row[1] then
      local is_soon = ms - row[2] < told_ms and others_well > ms - 2 * told_ms
      return is_soon and "unsure" or "tripped"
    end
  end
  if limit > 0 and told.row >= limit then return "tripped" end
  if not is_too_much(errors, calls) then return "" end
  local others, failed = calls - own_calls, errors - own_errors
  if others >= math.max(limit, 1) and not is_too_much(failed, others) and failed < floor * others then
    return own_errors >= math.max(limit, 1) and "alone" or ""
  end
  return "tripped"
end

local change = judge()
if change == "tripped" then return trip() end
if change == "alone" then
  told.row, told.rows[worker] = 0, nil
  for _, entry in ipairs(parts) do entry[2][worker] = nil end
end
told.parts, told.well = parts, well
-- Without a limit nobody asks for permits, which would name the host.
redis.call("SADD", KEYS[3], ARGV[2])
redis.call("HSET", KEYS[2], "calls", cjson.encode(told))
return answer(gate, change, calls, errors)
