-- Gives a job up for another worker to take at once; the caller rings. This counts as no death.
-- ARGV: 3 epoch  4 owner
-- -> {'handed_back', priority} | {'ended', state} it was cancelled meanwhile | {'lost'}
if not owns(ARGV[3], ARGV[4]) then return { 'lost' } end
if field('cancel') == '1' then
  seal_from_outside('cancelled', 'cancelled', 'cancelled')
  return { 'ended', 'cancelled' }
end
redis.call('HSET', RECORD, 'state', 'queued', 'owner', '', 'lease', 0, 'rung', whole(now))
redis.call('ZADD', DUE, whole(now + LOOK_MS), ID)
return { 'handed_back', field('priority') }
