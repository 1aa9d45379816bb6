-- The end, by the owner: what is left of the answer, the last attempt's row, and the last event, in one step.
-- A job whose cancel flag is set ends as cancelled, whatever its owner found.
-- ARGV: 3 epoch  4 owner  5 state  6 code or ''  7 result (JSON)  8 attempt number, 0 for none  9 its row (JSON)
--       10 seq of the first entry given  11.. entries, as in publish
-- -> {'ended', state} | {'gap', seq} send from seq on | {'lost'}
local owned = owns(ARGV[3], ARGV[4])
if not owned then
  local held = redis.call('HMGET', RECORD, 'epoch', 'owner', 'state')
  if held[1] == ARGV[3] and held[2] == ARGV[4] then return { 'ended', held[3] } end
  return { 'lost' }
end
local gap = append(ARGV[3], tonumber(owned[4]), tonumber(ARGV[10]), 11)
if gap then return { 'gap', gap } end
if ARGV[8] ~= '0' then redis.call('HSET', ATTEMPTS, ARGV[8], ARGV[9]) end
local state, code = ARGV[5], ARGV[6]
if owned[5] == '1' then state, code = 'cancelled', 'cancelled' end
seal(ARGV[3], state, code, ARGV[7])
return { 'ended', state }
