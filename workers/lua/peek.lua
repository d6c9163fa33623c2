-- How many ids are due in some queues, counted up to n.
-- KEYS: queue, <queue>:deep for each; ARGV: n
-- Returns the ms until the next future score in any of them (-1: none), then for each queue the count, or -1 where it
-- is marked deep.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local n = tonumber(ARGV[1])
local answer, next_ms = {-1}, -1
for i = 1, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i + 1]) == 1 then
    answer[#answer + 1] = -1
  elseif redis.call('TYPE', KEYS[i]).ok ~= 'zset' then
    -- absent; or somebody else's value, which the take removes
    answer[#answer + 1] = redis.call('EXISTS', KEYS[i])
  else
    answer[#answer + 1] = math.min(n, redis.call('ZCOUNT', KEYS[i], '-inf', now))
  end
  if redis.call('TYPE', KEYS[i]).ok == 'zset' then
    local future = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if #future == 2 then
      local wait = math.min(tonumber(future[2]) - now, 3600000)
      if next_ms < 0 or wait < next_ms then next_ms = wait end
    end
  end
end
answer[1] = math.ceil(next_ms)
return answer
