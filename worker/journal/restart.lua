-- Drops the answer that stands and opens a new epoch for the same owner.
-- ARGV: 3 epoch  4 owner  5 reason
-- -> {'restarted', epoch, cancel 0|1} | {'lost'}
if not owns(ARGV[3], ARGV[4]) then
  -- the reply of the first call was lost: the epoch it opened is still this owner's
  local held = redis.call('HMGET', RECORD, 'before', 'owner', 'epoch', 'cancel', 'state')
  if held[1] == ARGV[3] and held[2] == ARGV[4] and held[5] == 'running' then
    return { 'restarted', held[3], tonumber(held[4]) }
  end
  return { 'lost' }
end
local epoch = next_epoch()
redis.call('XADD', STREAM, epoch .. '-0', 't', 'reset', 'r', ARGV[5])
keep(STREAM)
redis.call('HSET', RECORD, 'state', 'running', 'epoch', epoch, 'before', ARGV[3], 'seq', 0)
return { 'restarted', epoch, tonumber(field('cancel')) }
