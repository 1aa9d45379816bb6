-- What the sweep finds at a job that is due, and does about it.
-- A job that nobody claimed is rung for again only where its doorbell is known to be lost: a doorbell rung
-- LOOK_MS later has arrived (the watermark), or the queue is empty.
-- ARGV: 3 watermark in ms and 4 whether it is empty 0|1, of queue interactive; 5 and 6 of queue batch
-- -> {'ring', priority, why} the caller rings | {'wait'} | {'ended', state} | {'gone'}
local held = redis.call('HMGET', RECORD, 'state', 'lease', 'deadline', 'not_before', 'rung', 'cancel', 'priority')
local state = held[1]
if not state or FINAL[state] then
  redis.call('ZREM', DUE, ID)
  return state and { 'ended', state } or { 'gone' }
end
local owned = tonumber(held[2]) > now
if held[6] == '1' and not owned then
  seal_from_outside('cancelled', 'cancelled', 'cancelled')
  return { 'ended', 'cancelled' }
elseif tonumber(held[3]) + (owned and REAP_MS or 0) <= now then
  seal_from_outside('failed', 'deadline_exceeded', 'the deadline passed')
  return { 'ended', 'failed' }
elseif owned then
  look_at_owned(tonumber(held[2]))
  return { 'wait' }
elseif state == 'parked' and tonumber(held[4]) > now then
  redis.call('ZADD', DUE, whole(math.min(tonumber(held[4]), tonumber(held[3]))), ID)
  return { 'wait' }
end
-- a job is rung for once when it comes due or its owner dies, and again only if that doorbell was lost
local rung, since = tonumber(held[5]), math.max(tonumber(held[2]), tonumber(held[4]))
local mark = held[7] == 'batch' and 5 or 3
local lost = rung + LOOK_MS <= tonumber(ARGV[mark]) or (ARGV[mark + 1] == '1' and rung + LOOK_MS <= now)
redis.call('ZADD', DUE, whole(math.min(now + LOOK_MS, tonumber(held[3]))), ID)
if rung >= since and not lost then return { 'wait' } end
if state == 'parked' then redis.call('HSET', RECORD, 'state', 'queued') end
redis.call('HSET', RECORD, 'rung', whole(now))
return { 'ring', held[7], state }
