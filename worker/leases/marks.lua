-- What is known of why something cools, and when that is forgotten.
local BREAKER_FAILURES, BREAKER_FIRST_MS, BREAKER_LONGEST_MS = 5, 5000, 20000

-- -> reason, repetitions, fence
local function mark_of(member)
  local reason, _, repetitions, fence = string.match(redis.call('HGET', MARKS, member) or '', '^(.-)|(.-)|(.-)|(.*)$')
  return reason, tonumber(repetitions) or 0, tonumber(fence) or 0
end

-- a call that was granted after the marks, and went well, ends the row of repetitions, and their probes
local function forgive(credential, model, fence)
  redis.call('HDEL', USAGE, 'failures|' .. model)
  for _, member in ipairs({ credential, credential .. '|' .. model, '|' .. model }) do
    local reason, _, marked = mark_of(member)
    if reason and tonumber(fence) > marked then
      redis.call('HDEL', MARKS, member)
      redis.call('HDEL', USAGE, 'probe|' .. member)
    end
  end
end
