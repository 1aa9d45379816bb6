-- Ends a job that nobody runs, at once; asks the owner of a running one to.
-- -> {'cancelled'} ended here | {'asked', owner} the flag was set here | {'asked_before'} | {'ended', state} | {'gone'}
local held = redis.call('HMGET', RECORD, 'state', 'cancel', 'lease', 'owner')
if not held[1] then return { 'gone' } end
if FINAL[held[1]] then return { 'ended', held[1] } end
local asked_before = held[2] == '1'
redis.call('HSET', RECORD, 'cancel', 1)
if tonumber(held[3]) <= now then
  seal_from_outside('cancelled', 'cancelled', 'cancelled before it was answered')
  return { asked_before and 'ended' or 'cancelled', 'cancelled' }
end
return { asked_before and 'asked_before' or 'asked', held[4] }
