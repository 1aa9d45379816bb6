-- Calls a parked job back before its time; the caller rings.
-- -> {'ring', priority} | {'not_parked'}
local held = redis.call('HMGET', RECORD, 'state', 'deadline', 'priority')
if held[1] ~= 'parked' then return { 'not_parked' } end
redis.call('HSET', RECORD, 'state', 'queued', 'not_before', whole(now), 'rung', whole(now))
redis.call('ZADD', DUE, whole(math.min(now + LOOK_MS, tonumber(held[2]))), ID)
return { 'ring', held[3] }
