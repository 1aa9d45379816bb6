-- Keeps a run's job its own for another lease. The owner alone tells: its epoch may be rising at this moment.
-- ARGV: 3 owner  4 lease in ms
-- -> {'held', cancel 0|1, left_ms} | {'lost'}
local held = redis.call('HMGET', RECORD, 'owner', 'state')
if held[1] ~= ARGV[3] or FINAL[held[2]] then return { 'lost' } end
local lease = now + tonumber(ARGV[4])
redis.call('HSET', RECORD, 'lease', whole(lease))
look_at_owned(lease)
return { 'held', tonumber(field('cancel')), tonumber(field('deadline')) - now }
