-- Takes up to n due ids out of one queue, in one step, with their payload keys.
-- KEYS: queue, <queue>:deep, <queue>:wake; ARGV: n
-- Returns 1 if the queue is marked deep (then nothing is taken), the ms until the next score (-1: none), then the ids.
local queue, deep, wake = KEYS[1], KEYS[2], KEYS[3]
local n = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if redis.call('EXISTS', deep) == 1 then
  return {1, -1}
end
local ids = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, n)
for from = 1, #ids, 1000 do
  local members, keys = {}, {}
  for i = from, math.min(#ids, from + 999) do
    members[#members + 1] = ids[i]
    keys[#keys + 1] = 'arq:job:' .. ids[i]
  end
  redis.call('ZREM', queue, unpack(members))
  redis.call('UNLINK', unpack(keys))
end
local next_ms = -1
local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
if #head == 2 then
  local score = tonumber(head[2])
  next_ms = math.max(0, math.min(score - now, 3600000))
  if score <= now and redis.call('LLEN', wake) == 0 then
    redis.call('LPUSH', wake, '1')  -- what is left is another worker's
    redis.call('PEXPIRE', wake, 86400000)  -- nobody's, should the last worker of this queue leave
  end
end
local answer = {0, math.floor(next_ms)}
for i = 1, #ids do answer[i + 2] = ids[i] end
return answer
