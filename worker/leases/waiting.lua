-- What is kept of those who wait for a lease; the next is chosen by class, then by age. Some wait in place, in a
-- process that hears of its turn on its channel; others are parked in the journal, and whoever ran the script wakes
-- them.
-- Both lists are in the order of their members: by model, so that each model's first is found at once, then class,
-- then the ms at which the job was submitted. One id may wait in place for several models.
-- A turn is a lease already, for CONFIRM_MS: nobody overtakes, and no slot stands empty while the news travels. A
-- process that does not take up its turn has gone away, and all of its waiters with it; one that was merely slow
-- asks again, at its old place.
local CONFIRM_MS = 1500
local PROVIDER = string.match(LEASES, '{p:(.*)}')
local PATIENCE_MS = 10000 -- a waiter in place asks again well within it
local TURNS = 2 -- given at once: who succeeds lets in two more, so that a herd comes in by doubling
local MODELS = 64 -- of a list that are looked at
local LOOKS = 256 -- at waiters, of whom many may have gone away
local NEAR = 8 -- so many are told when to come back; the others hear of it as those leave
local WAITERS_MS = 60000

-- model|class|age: in this order they are served
local function line_of(model, class, born_ms)
  return model .. '|' .. class .. '|' .. string.format('%014.0f', born_ms)
end

-- -> line, tokens, expiry, channel, owner
local function waiter(lease, model)
  local record = redis.call('HGET', WAITERS, model .. '|' .. lease)
  if not record then return nil end
  local class, born_ms, tokens, expiry, channel, owner = string.match(record, '^(.-)|(.-)|(.-)|(.-)|(.-)|(.*)$')
  return line_of(model, class, born_ms), tonumber(tokens), tonumber(expiry), channel, owner
end

-- -> whether he stood in line
local function leave(lease, model)
  local line = waiter(lease, model)
  if not line then return false end
  redis.call('ZREM', WAITING, line .. '|' .. lease)
  redis.call('HDEL', WAITERS, model .. '|' .. lease)
  return true
end

local function join(lease, model, class, tokens, born_ms, owner, channel)
  leave(lease, model)
  redis.call('ZADD', WAITING, 0, line_of(model, class, born_ms) .. '|' .. lease)
  redis.call('HSET', WAITERS, model .. '|' .. lease,
    table.concat({ class, born_ms, tokens, whole(now + PATIENCE_MS), channel, owner }, '|'))
  redis.call('PEXPIRE', WAITING, WAITERS_MS)
  redis.call('PEXPIRE', WAITERS, WAITERS_MS)
end

local function forget_waiters_of(channel)
  local all = redis.call('HGETALL', WAITERS)
  for i = 1, #all, 2 do
    if string.find(all[i + 1], '|' .. channel .. '|', 1, true) then
      local model, lease = string.match(all[i], '^(.-)|(.*)$')
      leave(lease, model)
    end
  end
end

-- a lease whose time has ended. One that was a turn was not taken up: nothing was called, and nobody is there
local function expire(lease)
  local record = redis.call('HGET', HOLDERS, lease)
  if not record then return redis.call('ZREM', LEASES, lease) end
  local channel = select(9, holder(record))
  local is_turn = channel ~= ''
  if is_turn then settle(record, nil, false) end
  drop(lease, record)
  if is_turn then forget_waiters_of(channel) end
end

-- gives back what time has ended, so many at once -> how many there were
local function sweep()
  local expired = redis.call('ZRANGEBYSCORE', LEASES, '-inf', whole(now), 'LIMIT', 0, AT_ONCE)
  for _, lease in ipairs(expired) do expire(lease) end
  local cooled = redis.call('ZRANGEBYSCORE', COOLING, '-inf', whole(now), 'LIMIT', 0, AT_ONCE)
  if cooled[1] then redis.call('HINCRBY', USAGE, 'changes', 1) end
  for _, member in ipairs(cooled) do
    local credential, model = string.match(member, '^([^|]*)|?(.*)$')
    redis.call('ZREM', COOLING, member)
    if model ~= '' and redis.call('HEXISTS', LIMITS, 'open|' .. model) == 0 then redis.call('HDEL', MARKS, member) end
    if credential ~= '' then place(credential) end
  end
  local rested = redis.call('ZRANGEBYSCORE', RESTING, '-inf', whole(now), 'LIMIT', 0, AT_ONCE)
  local beyond = redis.call('ZRANGEBYSCORE', RESTING, '(' .. whole(now + FARTHEST_REST_MS), '+inf', 'LIMIT', 0, AT_ONCE)
  for _, member in ipairs(beyond) do rested[#rested + 1] = member end
  for _, member in ipairs(rested) do
    redis.call('ZREM', RESTING, member)
    place(string.match(member, '^[^|]*'))
  end
  return #expired + #cooled + #rested
end

-- how many wait in place for the model who are before this one, NEAR at most
local function ahead_of(lease, model, class, born_ms)
  local before, ahead = '(' .. line_of(model, class, born_ms) .. '|', 0
  for _, member in ipairs(redis.call('ZRANGEBYLEX', WAITING, '[' .. model .. '|', before, 'LIMIT', 0, NEAR + 1)) do
    if string.match(member, '^.-|.-|.-|(.*)$') ~= lease then ahead = ahead + 1 end
  end
  return math.min(ahead, NEAR)
end

-- the first of a list, of one model or of all from `from` on; `order` is that among the models' first ones
local function first_of(list, model, from)
  local first = from or '[' .. model .. '|'
  local member = redis.call('ZRANGEBYLEX', list, first, model and '(' .. model .. '}' or '+', 'LIMIT', 0, 1)[1]
  if not member then return nil end
  local name, class, age, id = string.match(member, '^(.-)|(.-)|(.-)|(.*)$')
  return { model = name, class = class, id = id, member = member, order = class .. '|' .. age .. '|' .. member }
end

-- model -> its first
local function firsts_of(list)
  local firsts, first = {}, first_of(list, nil, '-')
  for _ = 1, MODELS do
    if not first then break end
    firsts[first.model] = first
    first = first_of(list, nil, '(' .. first.model .. '}')
  end
  return firsts
end

local function best_of(firsts)
  local best
  for _, first in pairs(firsts) do
    if not best or first.order < best.order then best = first end
  end
  return best
end

-- for a waiter's turn -> credential, its scopes, nil where none admits him; whether he has gone away
local function turn_for(first)
  local line, tokens, expiry = waiter(first.id, first.model)
  local is_here = line and expiry > now and expiry <= now + PATIENCE_MS
  if not is_here or redis.call('HEXISTS', HOLDERS, first.id) == 1 then return nil, nil, true end
  if barred(first.model, first.class, tokens) then return nil, nil, false end
  local credential, scopes = pick(first.model, first.class, tokens, {})
  return credential, scopes, false
end

-- gives out turns -> how many, and model -> how many
local function give_turns()
  local given, vacated = 0, {}
  if redis.call('EXISTS', WAITING) == 0 then return given, vacated end
  local firsts = firsts_of(WAITING)
  for _ = 1, LOOKS do
    local first = best_of(firsts)
    if not first or given == TURNS then break end
    local credential, scopes, is_gone = turn_for(first)
    local _, tokens, _, channel, owner = waiter(first.id, first.model)
    if credential or is_gone then
      leave(first.id, first.model)
      redis.call('ZREM', WAITING, first.member)
    end
    if credential then
      local fence, probe =
        grant(first.id, credential, scopes, first.model, first.class, tokens, owner, CONFIRM_MS, channel)
      local told = { first.id, PROVIDER, first.model, credential, fence, probe }
      redis.call('PUBLISH', channel, cjson.encode({ turn = told }))
      given = given + 1
      vacated[first.model] = (vacated[first.model] or 0) + 1
    end
    firsts[first.model] = (credential or is_gone) and first_of(WAITING, first.model) or nil -- else all behind him wait
  end
  return given, vacated
end

-- whether a request would be granted now, with nobody of its class or a better one before it
local function has_room(model, class, tokens)
  local first = first_of(WAITING, model)
  if first and first.class <= class then return false end
  return not barred(model, class, tokens) and pick(model, class, tokens, {}) ~= nil
end

-- the parked jobs whose turn it is: where somebody has left his place in a model's line, or where a slot is free that
-- nobody in line may have; `vacated` is model -> how many left -> list of job ids
local function wake_parked(vacated)
  local woken, firsts = {}, firsts_of(PARKED)
  for _ = 1, MODELS do
    local first = best_of(firsts)
    if not first or #woken == TURNS then break end
    local model, left = first.model, vacated[first.model] or 0
    local tokens, job = string.match(first.id, '^(.-)|(.*)$')
    local is_closed = redis.call('HEXISTS', LIMITS, 'open|' .. model) == 0 -- who asks for it opens it
    firsts[model] = nil
    if left > 0 or is_closed or has_room(model, first.class, tonumber(tokens)) then
      redis.call('ZREM', PARKED, first.member)
      woken[#woken + 1] = job
      vacated[model] = left - 1
      if left > 1 then firsts[model] = first_of(PARKED, model) end
    end
  end
  return woken
end

-- after anything that may have made room -> ids of the parked jobs to be woken
local function let_in()
  local _, vacated = give_turns()
  return wake_parked(vacated)
end
