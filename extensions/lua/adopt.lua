-- Give keys their new names, in one step; what has its new name already is left alone.
--
-- KEYS  1… pairs: the old name, the new one
for i = 1, #KEYS, 2 do
  if redis.call("EXISTS", KEYS[i]) == 1 and redis.call("EXISTS", KEYS[i + 1]) == 0 then
    redis.call("RENAME", KEYS[i], KEYS[i + 1])
  end
end
