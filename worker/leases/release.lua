-- Ends a lease: what its call cost the credential is written before the slot is free, in one step. A lease that was
-- reclaimed in the meantime, or released before, only has its cooldown applied.
-- ARGV: 2 lease id  3 fence  4 credential  5 model  6 success 0|1  7 tokens used, -1 unknown
--       8 mark none|cool|exhaust|lock_out  9 scope credential|model  10 cooldown in ms, 0 for the default, which is
--       11 first ms, doubled with each repetition up to  12 longest ms
-- -> {'released'} | {'gone'}
local LEASE, FENCE, CREDENTIAL, MODEL, REASON = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[8]
local PAIR = CREDENTIAL .. '|' .. MODEL

-- -> reason, repetitions, fence
local function mark_of(member)
  local reason, _, repetitions, fence = string.match(redis.call('HGET', MARKS, member) or '', '^(.-)|(.-)|(.-)|(.*)$')
  return reason, tonumber(repetitions) or 0, tonumber(fence) or 0
end

-- never shortens. Leases that were out when the mark was made tell of the same event: they are no repetition of it
local function cool(member, cooldown_ms, first_ms, longest_ms)
  local reason, repetitions, fence = mark_of(member)
  if reason ~= REASON then repetitions, fence = 0, 0 end
  if cooldown_ms == 0 then
    if tonumber(FENCE) > fence then repetitions = repetitions + 1 end
    cooldown_ms = math.min(first_ms * 2 ^ math.max(0, repetitions - 1), longest_ms)
  end
  local until_ms = now + cooldown_ms
  if until_ms <= tonumber(redis.call('ZSCORE', COOLING, member) or 0) then return end
  redis.call('ZADD', COOLING, whole(until_ms), member)
  redis.call('HINCRBY', USAGE, 'changes', 1)
  redis.call('HSET', MARKS, member,
    table.concat({ REASON, whole(now), repetitions, redis.call('HGET', USAGE, 'fence') or FENCE }, '|'))
end

-- a call that was granted after the mark, and went well, ends the row of repetitions
local function forgive(member)
  local reason, _, fence = mark_of(member)
  if reason and tonumber(FENCE) > fence then redis.call('HDEL', MARKS, member) end
end

local record = redis.call('HGET', HOLDERS, LEASE)
local held = record and select(5, holder(record)) == FENCE
if REASON ~= 'none' and known(CREDENTIAL) then
  cool(ARGV[9] == 'model' and PAIR or CREDENTIAL, tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]))
end
if not held then
  place(CREDENTIAL)
  return { 'gone' }
end
if ARGV[6] == '1' then
  forgive(CREDENTIAL)
  forgive(PAIR)
end
drop(LEASE)
return { 'released' }
