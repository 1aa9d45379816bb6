-- What chooses a credential for a request, and grants it.

local function is_full(provider, class)
  local slots, batch = string.match(provider, '^(.-)|(.-)|')
  local most = class == '1' and batch or slots
  return most and most ~= '' and redis.call('ZCARD', LEASES) >= tonumber(most)
end

-- what keeps a request from every credential of the model -> why, ms until it ends if that is known
local function barred(model, class, tokens)
  local open_until = tonumber(redis.call('ZSCORE', COOLING, '|' .. model))
  if open_until then return 'broken', open_until end
  local provider = redis.call('HGET', LIMITS, 'provider') or ''
  local probe = redis.call('HMGET', USAGE, 'probe||' .. model, 'probed||' .. model)
  local tried_until = probe[1] and (tonumber(probe[2]) or 0) + PROBE_MS
  if tried_until and tried_until > now and tried_until <= now + PROBE_MS then return 'full' end
  if is_full(provider, class) then return 'full' end
  local rpm, tpm = rates_in(provider)
  local wait = (rpm or tpm) and wait_for({ name = '*', rpm = rpm, tpm = tpm }, class, tokens) or 0
  if wait > 0 then return 'full', now + wait end
end

-- ms until a credential's rates admit the request. One that has nothing left for any request rests: out of ready
-- -> ms, whether it rests, its scopes
local function wait_at(credential, model, class, tokens)
  local scopes, wait, rests = scopes_of(credential, model), 0, false
  for i = 2, 3 do
    local here = wait_for(scopes[i], class, tokens)
    local least = here > 0 and wait_for(scopes[i], '0', 1) or 0
    if least > 0 then
      redis.call('ZADD', RESTING, whole(now + least), scopes[i].name)
      rests = true
    end
    wait = math.max(wait, here)
  end
  if rests then place(credential) end
  return wait, rests, scopes
end

-- the best credential that may serve a request, going on past a run of refusals
-- -> credential, its scopes | nil, ms at which the first one's rates admit it, if that is what is in the way
local function pick(model, class, tokens, excluded)
  local from, soonest = 0, math.huge
  local first, last = '[' .. model .. '|' .. class .. '|', '(' .. model .. '|' .. class .. '}'
  repeat
    local page = redis.call('ZRANGEBYLEX', READY, first, last, 'LIMIT', from, AT_ONCE)
    for _, member in ipairs(page) do
      local credential = string.match(member, '[^|]+$')
      from = from + 1
      if not excluded[credential] then
        local wait, rests, scopes = wait_at(credential, model, class, tokens)
        if wait == 0 then return credential, scopes end
        if rests then from = from - 1 end
        soonest = math.min(soonest, now + wait)
      end
    end
  until #page < AT_ONCE
  return nil, soonest < math.huge and soonest or nil
end

-- takes a slot; a credential goes to the back of the order of last use after as many grants as its weight says.
-- What has cooled, and has not done well since, is tried out by one lease alone: its probe -> fence, 1 for a probe
local function grant(lease, credential, scopes, model, class, tokens, owner, ttl_ms, channel)
  local pair = credential .. '|' .. model
  local limits = redis.call('HMGET', LIMITS, 'scope', 'credential|' .. credential)
  local sum = 'sum|' .. (limits[1] == 'credential' and credential or pair)
  local usage = redis.call('HMGET', USAGE, 'fence', 'n|' .. credential, 'n|' .. pair, 'last|' .. credential,
    'turn|' .. credential, sum)
  local fence = whole(math.max((tonumber(usage[1]) or 0) + 1, now))
  local weight = string.match(limits[2], '^.-|(.-)|')
  local last, turn = usage[4] or 0, (tonumber(usage[5]) or 0) + 1 / weight
  if turn > 0.9999 then last, turn = fence, math.max(0, turn - 1) end
  local calls, total = counts(usage[6])
  redis.call('HSET', USAGE, 'fence', fence, 'used|' .. model, fence, 'n|' .. credential, (usage[2] or 0) + 1,
    'n|' .. pair, (usage[3] or 0) + 1, 'last|' .. credential, last, 'turn|' .. credential, turn,
    sum, whole(calls + 1) .. '|' .. whole(total + tokens))
  redis.call('ZADD', LEASES, whole(now + ttl_ms), lease)
  redis.call('HSET', HOLDERS, lease, table.concat({ credential, model, class, tokens, fence, whole(now),
    whole(calls + 1), whole(total + tokens), channel, owner }, '|'))
  local probes = 0
  for i, mark in ipairs(redis.call('HMGET', MARKS, credential, pair, '|' .. model)) do
    if mark then
      local member = ({ credential, pair, '|' .. model })[i]
      redis.call('HSET', USAGE, 'probe|' .. member, lease)
      if i == 3 then redis.call('HSET', USAGE, 'probed|' .. member, whole(now)) end
      probes = 1
    end
  end
  charge(scopes, class, tonumber(tokens))
  place(credential)
  return fence, probes
end
