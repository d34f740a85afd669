-- Give keys their new names, in one step; what has its new name already is left alone.
--
-- KEYS  1… pairs: the old name, the new one
-- Returns how many keys were renamed.
local renamed = 0
for i = 1, #KEYS, 2 do
  if redis.call("EXISTS", KEYS[i]) == 1 and redis.call("EXISTS", KEYS[i + 1]) == 0 then
    redis.call("RENAME", KEYS[i], KEYS[i + 1])
    renamed = renamed + 1
  end
end
return renamed
