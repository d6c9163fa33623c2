-- Adds ids worth trying to one queue, unless a deep backlog makes them worthless.
-- KEYS: queue, <queue>:deep, <queue>:wake
-- ARGV: window (ids), horizon (ms), lifetime of a key beyond the last score (ms), surplus (due ids that are not
-- sent: any at all mean that the backlog is deep), then id, due in (µs), payload ...
-- Returns how many were added.
local queue, deep, wake = KEYS[1], KEYS[2], KEYS[3]
local window, horizon, extra = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local surplus = tonumber(ARGV[4])
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)

local function drop_due()
  while true do
    local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, 1000)
    if #due == 0 then return end
    redis.call('ZREM', queue, unpack(due))
    for i = 1, #due do due[i] = 'arq:job:' .. due[i] end
    redis.call('UNLINK', unpack(due))
  end
end

local is_deep = redis.call('EXISTS', deep) == 1
local due_count = redis.call('ZCOUNT', queue, '-inf', now)
local future_count = redis.call('ZCOUNT', queue, '(' .. now, '+inf')
local added, soon = 0, surplus

-- PostgreSQL has them all; from here on workers claim its head
local function mark_deep()
  redis.call('SET', deep, '', 'PX', 2000)
  drop_due()
  is_deep = true
end

if surplus > 0 and not is_deep then mark_deep() end
for i = 5, #ARGV, 3 do
  local id, due_in, payload = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local wanted = false
  if due_in <= 0 then
    if not is_deep and due_count >= window then
      mark_deep()
    end
    wanted = not is_deep
  else
    wanted = future_count < window and due_in <= horizon * 1000
  end
  if wanted then
    -- rounded up, so that an id is never due early; LT, so that a hint with a late score cannot hide its job
    local score = math.ceil((micros + due_in) / 1000)
    if due_in <= 0 then score = math.min(score, now) end
    redis.call('ZADD', queue, 'LT', score, id)
    redis.call('SET', 'arq:job:' .. id, payload, 'PX', math.max(0, score - now) + extra)
    added = added + 1
    if due_in <= 0 then
      due_count = due_count + 1
    else
      future_count = future_count + 1
    end
    -- due before an idle worker looks by itself: it must learn of it now
    if due_in < 1000000 then soon = soon + 1 end
  end
end
-- A queue that nobody serves is nobody's to clear: it goes by itself, once all that is published now is long due.
if added > 0 then redis.call('PEXPIRE', queue, horizon + extra) end
if soon > 0 then
  if redis.call('LLEN', wake) == 0 then redis.call('LPUSH', wake, '1') end
  redis.call('PEXPIRE', wake, extra)
end
return added
