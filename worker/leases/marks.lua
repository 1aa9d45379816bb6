-- What is known of why something cools, and when that is forgotten.
local BREAKER_FAILURES, BREAKER_FIRST_MS, BREAKER_LONGEST_MS = 5, 5000, 20000
local PROBE_MS = 20000 -- a probe that has not said a word by then keeps nobody else from trying

-- -> reason, repetitions, fence
local function mark_in(packed)
  local reason, _, repetitions, fence = string.match(packed or '', '^(.-)|(.-)|(.-)|(.*)$')
  return reason, tonumber(repetitions) or 0, tonumber(fence) or 0
end

-- a call that was granted after the marks, and went well, ends the row of repetitions, and their probes
local function forgive(credential, model, fence)
  redis.call('HDEL', USAGE, 'failures|' .. model)
  local members = { credential, credential .. '|' .. model, '|' .. model }
  for i, packed in ipairs(redis.call('HMGET', MARKS, unpack(members))) do
    local reason, _, marked = mark_in(packed)
    local member = members[i]
    if reason and tonumber(fence) > marked then
      redis.call('HDEL', MARKS, member)
      redis.call('HDEL', USAGE, 'probe|' .. member, 'probed|' .. member)
    end
  end
end
