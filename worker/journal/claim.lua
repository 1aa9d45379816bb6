-- Takes a job: a new epoch, a new owner, a lease. A take-over from an owner whose lease ran out counts as a death.
-- ARGV: 3 owner  4 lease in ms  5 deaths at which the job is given up
-- -> {'claimed', epoch, left_ms, age_ms, deaths, request, canvas, priority, rung_ms, created_ms, was_parked 0|1,
--    {attempt number, row, ...}}
--  | {'owned', left_ms, rung_ms} | {'early', wait_ms, rung_ms} | {'ended', state, rung_ms} | {'gone'}
local held = redis.call('HMGET', RECORD, 'state', 'owner', 'lease', 'epoch', 'deadline', 'created', 'deaths',
  'not_before', 'cancel', 'seq', 'rung', 'after_commit')
local state, owner, lease, epoch = held[1], held[2], tonumber(held[3]), held[4]
if not state then return { 'gone' } end
local rung = held[11]
if FINAL[state] then return { 'ended', state, rung } end

local function claimed()
  local ends = now + tonumber(ARGV[4])
  redis.call('HSET', RECORD, 'lease', whole(ends))
  look_at_owned(ends)
  local request = redis.call('HMGET', RECORD, 'request', 'canvas', 'priority', 'was_parked')
  return { 'claimed', epoch, tonumber(held[5]) - now, now - tonumber(held[6]), tonumber(held[7]),
    request[1], request[2], request[3], rung, held[6],
    tonumber(request[4] or 0), redis.call('HGETALL', ATTEMPTS) }
end

if owner == ARGV[3] then return claimed() end -- the reply of the first call was lost
if lease > now then return { 'owned', lease - now, rung } end
if state == 'parked' and tonumber(held[8]) > now and held[9] ~= '1' then
  return { 'early', tonumber(held[8]) - now, rung }
end
local taken_over = state == 'running' or state == 'streaming'
if taken_over then held[7] = redis.call('HINCRBY', RECORD, 'deaths', 1) end

if held[9] == '1' then
  seal_from_outside('cancelled', 'cancelled', 'cancelled')
  return { 'ended', 'cancelled', rung }
elseif tonumber(held[5]) <= now then
  seal_from_outside('failed', 'deadline_exceeded', 'the deadline passed before a worker could finish it')
  return { 'ended', 'failed', rung }
elseif tonumber(held[7]) >= tonumber(ARGV[5]) then
  seal_from_outside('failed', 'interrupted', 'its worker died ' .. held[7] .. ' times')
  return { 'ended', 'failed', rung }
end

local speaking = tonumber(held[10]) > 0 -- an answer stands in the stream
if speaking and held[12] == 'fail' then
  seal_from_outside('failed', 'interrupted', 'its worker went away in the middle of the answer')
  return { 'ended', 'failed', rung }
end

epoch = next_epoch()
if speaking then
  redis.call('XADD', STREAM, epoch .. '-0', 't', 'reset', 'r', taken_over and 'worker_lost' or 'handed_back')
else
  redis.call('XADD', STREAM, epoch .. '-0', 't', 'opened')
end
keep(STREAM)
redis.call('HSET', RECORD, 'state', 'running', 'epoch', epoch, 'before', '', 'seq', 0, 'owner', ARGV[3])
return claimed()
