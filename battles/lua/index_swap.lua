-- Put the index that was built beside another in its place, unless something is missing in it.
--
-- KEYS  1 additions of the old   2 months of the new   3… pairs: a key of the new, the same of the old
-- ARGV  1 who builds   2 additions repeated so far, the builder's name among them
--       3 months of which there are pairs
-- Returns 1 when it is done, 0 when there is more to repeat or to pair, -1 when somebody else builds.
if redis.call("LINDEX", KEYS[1], 0) ~= ARGV[1] then
  return -1
end
if redis.call("LLEN", KEYS[1]) ~= tonumber(ARGV[2]) then
  return 0
end
-- A month that only the old index had new would be among the additions.
if redis.call("SCARD", KEYS[2]) ~= tonumber(ARGV[3]) then
  return 0
end
for i = 3, #KEYS, 2 do
  redis.call("UNLINK", KEYS[i + 1])
  if redis.call("EXISTS", KEYS[i]) == 1 then
    redis.call("RENAME", KEYS[i], KEYS[i + 1])
  end
end
return 1
