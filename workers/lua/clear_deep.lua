-- A short head claim ends the mark, if a publisher or a worker with the same tasks set it. Returns 1 if it did.
-- KEYS: <queue>:deep; ARGV: the hash of the worker's tasks
local value = redis.call('GET', KEYS[1])
if value == '' or value == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
