-- Puts a job aside until a time: it then holds no slot, no lease and no message, and the sweep rings for it.
-- ARGV: 3 epoch  4 owner  5 wait in ms
-- -> {'parked'} | {'ended', state} it was cancelled meanwhile | {'lost'}
if not owns(ARGV[3], ARGV[4]) then return { 'lost' } end
if field('cancel') == '1' then
  seal_from_outside('cancelled', 'cancelled', 'cancelled')
  return { 'ended', 'cancelled' }
end
local due = now + tonumber(ARGV[5])
redis.call('HSET', RECORD, 'state', 'parked', 'was_parked', 1, 'owner', '', 'lease', 0, 'not_before', whole(due))
redis.call('ZADD', DUE, whole(math.min(due, tonumber(field('deadline')))), ID)
return { 'parked' }
