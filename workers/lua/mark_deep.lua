-- A full head claim says that this queue's backlog is deep: hints of due jobs are worthless for a while.
-- KEYS: queue, <queue>:deep; ARGV: the hash of the worker's tasks, lifetime of the mark (ms)
-- An empty value (a publisher's mark) is kept: any worker's short head may clear that one.
local queue, deep = KEYS[1], KEYS[2]
local value = redis.call('GET', deep)
redis.call('SET', deep, value or ARGV[1], 'PX', ARGV[2])
if not value then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  while true do
    local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, 1000)
    if #due == 0 then break end
    redis.call('ZREM', queue, unpack(due))
    for i = 1, #due do due[i] = 'arq:job:' .. due[i] end
    redis.call('UNLINK', unpack(due))
  end
end
return 1
