-- Chooses a credential for a model, takes a slot on it and charges its rates, in one step. Who waits goes first.
-- ARGV: 2 lease id  3 owner  4 TTL in ms  5 model  6 class  7 tokens  8 ms at which its job was submitted
--       9 channel on which it waits in place, '' not to  10... credentials to pass over
-- -> {'granted', credential, fence, 0|1 a probe, jobs to wake} also again, for a lease that is held
--  | {'unopened', config} the model is to be opened under this config (JSON; '' where there is none), then asked again
--  | {'denied', 'full'|'cooling'|'broken'|'locked_out'|'no_credentials',
--     ms to the earliest return, -1 where none is known, jobs to wake}
local LEASE, OWNER, TTL_MS, MODEL, CLASS, TOKENS = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
local BORN_MS, CHANNEL = ARGV[8], ARGV[9]
local ROUNDS = 16
local BATCH = 100
local excluded = {}
for i = 10, #ARGV do excluded[ARGV[i]] = true end
local woken = {}

-- the lease, if it is held: it was granted before, or its waiter's turn has come
local function held()
  local record = redis.call('HGET', HOLDERS, LEASE)
  if not record then return nil end
  local credential, model, _, _, fence = holder(record)
  if model ~= MODEL then return { 'denied', 'full', -1, woken } end -- its turn has come at another model
  redis.call('ZADD', LEASES, whole(now + TTL_MS), LEASE)
  take_up(LEASE, record)
  local probers = redis.call('HMGET', USAGE, 'probe|' .. credential, 'probe|' .. credential .. '|' .. model,
    'probe||' .. model)
  local probes = probers[1] == LEASE or probers[2] == LEASE or probers[3] == LEASE
  return { 'granted', credential, fence, probes and 1 or 0, woken }
end

local function denied(why, until_ms)
  if CHANNEL ~= '' and not next(excluded) and why ~= 'no_credentials' and why ~= 'locked_out' then
    join(LEASE, MODEL, CLASS, TOKENS, BORN_MS, OWNER, CHANNEL)
  end
  return { 'denied', why, until_ms and math.max(1, math.ceil(until_ms - now)) or -1, woken }
end

-- the credential that a cooldown or a rest keeps from this request -> credential, model '' for all of them
local function kept_from(member)
  local credential, model = string.match(member, '^([^|]*)|?(.*)$')
  local serves = '|' .. (redis.call('HGET', LIMITS, 'serves|' .. credential) or '') .. '|'
  if (model == '' or model == MODEL) and not excluded[credential]
      and string.find(serves, '|' .. MODEL .. '|', 1, true) then
    return credential, model
  end
end

-- the end of the first cooldown that keeps a credential from this model, if it is among the next ones to end
local function next_return()
  local among = redis.call('ZRANGE', COOLING, 0, AT_ONCE - 1, 'WITHSCORES')
  for i = 1, #among, 2 do
    local credential, model = kept_from(among[i])
    if credential then
      local other = redis.call('ZSCORE', COOLING, model == '' and credential .. '|' .. MODEL or credential)
      if (tonumber(other) or 0) <= tonumber(among[i + 1]) then return tonumber(among[i + 1]) end
    end
  end
end

-- when the rates of those that rest admit this request, which may be later than for the least of all
local function next_rested()
  local soonest = math.huge
  for _, member in ipairs(redis.call('ZRANGE', RESTING, 0, AT_ONCE - 1)) do
    local credential = kept_from(member)
    if credential then soonest = math.min(soonest, now + wait_at(credential, MODEL, CLASS, tonumber(TOKENS))) end
  end
  return soonest
end

local function full(until_ms)
  local soonest = math.min(until_ms or math.huge, next_return() or math.huge, next_rested())
  return denied('full', soonest < math.huge and soonest or nil)
end

-- what the last look through the credentials found, as long as it holds: a busy one, or until when all of them cool
local function remembered(until_ms)
  local usage = redis.call('HMGET', USAGE, 'seen|' .. MODEL, 'changes')
  local why, seen, changes = string.match(usage[1] or '', '^(.-)|(.-)|(.*)$')
  if why == 'full' then
    local cooling = redis.call('ZMSCORE', COOLING, seen, seen .. '|' .. MODEL)
    if not excluded[seen] and not cooling[1] and not cooling[2] then return full(until_ms) end
  elseif why and changes == (usage[2] or '') and tonumber(seen) > now and not next(excluded) then
    return denied(why, tonumber(seen))
  end
end

local function remember(why, seen)
  local changes = redis.call('HGET', USAGE, 'changes') or ''
  redis.call('HSET', USAGE, 'seen|' .. MODEL, table.concat({ why, seen, changes }, '|'))
end

-- a batch of credentials -> one that is merely busy, or nil, the first end of a cooldown, whether all are locked out
local function look_at(batch)
  local members = {}
  for _, credential in ipairs(batch) do
    members[#members + 1] = credential
    members[#members + 1] = credential .. '|' .. MODEL
  end
  local cooling = redis.call('ZMSCORE', COOLING, unpack(members))
  local marks = redis.call('HMGET', MARKS, unpack(batch))
  local soonest, locked = math.huge, true
  for i, credential in ipairs(batch) do
    local whole_until, model_until = tonumber(cooling[2 * i - 1]), tonumber(cooling[2 * i])
    if not whole_until and not model_until then return credential end
    soonest = math.min(soonest, math.max(whole_until or 0, model_until or 0))
    locked = locked and whole_until and marks[i] and string.match(marks[i], '^[^|]+') == 'lock_out'
  end
  return nil, soonest, locked
end

-- why there is none: looks through the credentials until it meets one that is merely busy
local function look(until_ms)
  local names = redis.call('HGET', LIMITS, 'open|' .. MODEL)
  local soonest, all_locked, batch = math.huge, true, {}
  for credential in string.gmatch(names .. '||', '([^|]*)|') do
    if credential ~= '' and not excluded[credential] then batch[#batch + 1] = credential end
    if #batch == BATCH or (credential == '' and batch[1]) then
      local busy, first, locked = look_at(batch)
      if busy then
        remember('full', busy)
        return full(until_ms)
      end
      soonest, all_locked, batch = math.min(soonest, first), all_locked and locked, {}
    end
  end
  if soonest == math.huge then return denied('full') end -- all are passed over: another worker may know them
  local why = all_locked and 'locked_out' or 'cooling'
  if not next(excluded) then remember(why, whole(soonest)) end
  return denied(why, soonest)
end

local function main()
  local before = held()
  if before then return before end
  if redis.call('HEXISTS', LIMITS, 'open|' .. MODEL) == 0 then
    return { 'unopened', redis.call('HGET', LIMITS, 'config') or '' }
  end
  local tokens, given, vacated, ahead, why, until_ms = tonumber(TOKENS), 0, {}, 0, nil, nil
  local is_alone = redis.call('EXISTS', WAITING, PARKED) == 0 -- nobody waits
  for _ = 1, ROUNDS do
    local swept = sweep()
    if given == 0 and not is_alone then given, vacated = give_turns() end
    if given > 0 and redis.call('HEXISTS', HOLDERS, LEASE) == 1 then
      woken = wake_parked(vacated)
      return held()
    end
    why, until_ms = barred(MODEL, CLASS, tokens)
    ahead = is_alone and 0 or ahead_of(LEASE, MODEL, CLASS, BORN_MS)
    local credential, scopes = nil, nil
    if not why and ahead == 0 then credential, scopes = pick(MODEL, CLASS, tokens, excluded) end
    if credential then
      if not is_alone and leave(LEASE, MODEL) then vacated[MODEL] = (vacated[MODEL] or 0) + 1 end
      local fence, probe = grant(LEASE, credential, scopes, MODEL, CLASS, TOKENS, OWNER, TTL_MS, '')
      if not is_alone then woken = wake_parked(vacated) end
      return { 'granted', credential, fence, probe, woken }
    end
    if not why then until_ms = scopes end
    if swept == 0 then break end
  end
  if redis.call('HSTRLEN', LIMITS, 'open|' .. MODEL) == 0 then return denied('no_credentials') end
  if given > 0 then woken = wake_parked(vacated) end
  if why then return denied(why, until_ms) end
  if ahead > 0 then return ahead < NEAR and full() or denied('full') end
  return remembered(until_ms) or look(until_ms)
end

return main()
