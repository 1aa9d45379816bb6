-- What is left of the calls and tokens of a minute, in three scopes: * the provider, C a credential, C|M a credential's
-- model. Two rules hold at once. GCRA spreads the calls: a burst of 5 %, then 93 % of the limit a minute. A window of
-- 62 s, in buckets of 2 s, holds 98 % of it, also where a reservation is corrected long after it was made.
-- rates HASH: scope -> bucket|calls|tokens|calls' theoretical arrival in ms|tokens'|fence when the clock was last set
--             back by much: what was granted before is corrected no more; @bucket@scope -> calls|tokens;
--             <scope -> what the provider said is left: calls|until in ms|tokens|until in ms|when it was said|
--             fence of who heard it
local WINDOW_MS, BUCKET_MS, BUCKETS = 60000, 2000, 31
local BURST, RATE, MOST = 0.05, 0.93, 0.98
local FARTHEST_REST_MS = 600000 -- so does a rest: what a provider says counts for no longer
local NEXT_TO_NOTHING_MS = 0.01 -- what rounding may make of 0
local FARTHEST_MS = 130000 -- a theoretical arrival further off comes from a clock that was set back

-- -> calls and tokens a minute, nil where there is no limit: the last two of any limits
local function rates_in(limits)
  local rpm, tpm = string.match(limits or '', '([^|]*)|([^|]*)$')
  return tonumber(rpm), tonumber(tpm)
end

-- the scopes of a lease, each with its rates, and with what the provider said
local function scopes_of(credential, model)
  local pair = credential .. '|' .. model
  local limits = redis.call('HMGET', LIMITS, 'provider', 'credential|' .. credential, 'model|' .. model)
  local said = redis.call('HMGET', RATES, '<' .. credential, '<' .. pair)
  local scopes = {}
  for i, name in ipairs({ '*', credential, pair }) do
    local rpm, tpm = rates_in(limits[i])
    scopes[i] = { name = name, rpm = rpm, tpm = tpm, said = said[i - 1] }
  end
  return scopes
end

-- what one window may hold of a limit; batch leaves its headroom
local headroom
local function most_of(limit, class)
  local most = math.ceil(MOST * limit)
  if class ~= '1' then return most end
  headroom = headroom or tonumber(redis.call('HGET', LIMITS, 'headroom')) or 0
  return math.max(1, math.floor(most * (1 - headroom)))
end

local function bucket_fields(scope, first, last)
  local fields = {}
  for bucket = first, last do fields[#fields + 1] = '@' .. whole(bucket) .. '@' .. scope end
  return fields
end

local function counts(packed)
  local calls, tokens = string.match(packed or '', '^(.-)|(.*)$')
  return tonumber(calls) or 0, tonumber(tokens) or 0
end

local function keep_window(scope, w)
  redis.call('HSET', RATES, scope, string.format('%.0f|%.0f|%.0f|%.3f|%.3f|%.0f', w.bucket, w.calls, w.tokens,
    w.calls_at, w.tokens_at, w.since))
end

-- a scope's window as it is now: what has left it is gone
local function window_of(scope)
  local bucket, calls, tokens, calls_at, tokens_at, since =
    string.match(redis.call('HGET', RATES, scope) or '', '^(.-)|(.-)|(.-)|(.-)|(.-)|(.*)$')
  local this = math.floor(now / BUCKET_MS)
  if not bucket then return { bucket = this, calls = 0, tokens = 0, calls_at = 0, tokens_at = 0, since = 0 } end
  local w = { bucket = tonumber(bucket), calls = tonumber(calls), tokens = tonumber(tokens),
    calls_at = math.min(tonumber(calls_at), now + FARTHEST_MS),
    tokens_at = math.min(tonumber(tokens_at), now + FARTHEST_MS), since = tonumber(since) }
  if this <= w.bucket and this > w.bucket - BUCKETS then return w end -- set back by a little, the clock stands still
  if this < w.bucket then -- the clock was set back: all of it counts as of now
    redis.call('HDEL', RATES, unpack(bucket_fields(scope, w.bucket - BUCKETS + 1, w.bucket)))
    redis.call('HSET', RATES, '@' .. whole(this) .. '@' .. scope, w.calls .. '|' .. w.tokens)
    w.since = tonumber(redis.call('HGET', USAGE, 'fence')) or 0
  else
    local last = math.min(w.bucket, this - BUCKETS)
    if last > w.bucket - BUCKETS then
      local fields = bucket_fields(scope, w.bucket - BUCKETS + 1, last)
      for _, packed in ipairs(redis.call('HMGET', RATES, unpack(fields))) do
        local gone_calls, gone_tokens = counts(packed)
        w.calls, w.tokens = w.calls - gone_calls, w.tokens - gone_tokens
      end
      redis.call('HDEL', RATES, unpack(fields))
    end
  end
  w.bucket = this
  keep_window(scope, w)
  return w
end

-- ms until a window has room again for what it lacks: until enough of its buckets have left it
local function until_freed(scope, w, calls, tokens)
  local first = w.bucket - BUCKETS + 1
  for i, packed in ipairs(redis.call('HMGET', RATES, unpack(bucket_fields(scope, first, w.bucket)))) do
    local gone_calls, gone_tokens = counts(packed)
    calls, tokens = calls - gone_calls, tokens - gone_tokens
    if calls <= 0 and tokens <= 0 then return (first + i - 1 + BUCKETS) * BUCKET_MS - now end
  end
  return WINDOW_MS
end

-- ms until GCRA admits a cost; one above the burst as soon as all before it is paid for: the window bounds it
local function until_due(at, limit, cost)
  local burst = math.max(BURST * limit, 1)
  return at + (math.min(cost, burst) - burst) * WINDOW_MS / (RATE * limit) - now
end

-- ms until one more call of so many tokens fits into a scope; 0: it does now
local function wait_for(scope, class, tokens)
  local wait = 0
  if scope.rpm or scope.tpm then
    local w, lack_calls, lack_tokens = window_of(scope.name), 0, 0
    if scope.rpm then
      wait = math.max(wait, until_due(w.calls_at, scope.rpm, 1))
      lack_calls = w.calls + 1 - most_of(scope.rpm, class)
    end
    if scope.tpm then
      local most = most_of(scope.tpm, class)
      local cost = math.min(tokens, most)
      wait = math.max(wait, until_due(w.tokens_at, scope.tpm, cost))
      lack_tokens = w.tokens + cost - most
    end
    if lack_calls > 0 or lack_tokens > 0 then
      wait = math.max(wait, until_freed(scope.name, w, lack_calls, lack_tokens))
    end
  end
  if scope.said then
    local calls, calls_until, tokens_left, tokens_until, said_ms =
      string.match(scope.said, '^(.-)|(.-)|(.-)|(.-)|(.-)|')
    local holds = tonumber(said_ms) <= now -- else the clock was set back
    if holds and tonumber(calls) < 1 then wait = math.max(wait, tonumber(calls_until) - now) end
    if holds and tonumber(tokens_left) < tokens then wait = math.max(wait, tonumber(tokens_until) - now) end
  end
  return math.max(0, math.ceil(wait - NEXT_TO_NOTHING_MS))
end

local function later(at, limit, cost)
  return limit and math.max(at, now) + cost * WINDOW_MS / (RATE * limit) or at
end

-- what the provider said is left is less by what is granted, and more by what is given back
local function say_less(scope, calls, tokens)
  if not scope.said then return end
  local left, calls_until, left_tokens, rest = string.match(scope.said, '^(.-)|(.-)|(.-)|(.*)$')
  redis.call('HSET', RATES, '<' .. scope.name,
    table.concat({ whole(left - calls), calls_until, whole(left_tokens - tokens), rest }, '|'))
end

-- reserves one call of so many tokens in every scope
local function charge(scopes, class, tokens)
  for _, scope in ipairs(scopes) do
    if scope.rpm or scope.tpm then
      local w = window_of(scope.name)
      local cost = scope.tpm and math.min(tokens, most_of(scope.tpm, class)) or tokens
      local field = '@' .. whole(w.bucket) .. '@' .. scope.name
      local calls, bucket_tokens = counts(redis.call('HGET', RATES, field))
      redis.call('HSET', RATES, field, calls + 1 .. '|' .. whole(bucket_tokens + cost))
      w.calls, w.tokens = w.calls + 1, w.tokens + cost
      w.calls_at, w.tokens_at = later(w.calls_at, scope.rpm, 1), later(w.tokens_at, scope.tpm, cost)
      keep_window(scope.name, w)
    end
    say_less(scope, 1, tokens)
  end
end

local function corrected(at, limit, cost)
  if not limit or cost == 0 then return at end
  local moved = at + cost * WINDOW_MS / (RATE * limit)
  return cost > 0 and moved or math.max(moved, math.min(at, now))
end

-- a call that was not made takes nothing from what the provider said is left
local function give_back(scope, tokens)
  say_less(scope, -1, -tokens)
  local sum = redis.call('HGET', USAGE, 'sum|' .. scope.name)
  if not sum then return end
  local calls, total = counts(sum)
  redis.call('HSET', USAGE, 'sum|' .. scope.name, whole(calls - 1) .. '|' .. whole(total - tokens))
  redis.call('ZREM', RESTING, scope.name)
end

-- corrects a reservation: `used` tokens in its place, nil where that is not known; not `called`: it is given back
local function settle(record, used, called)
  local credential, model, class, reserved, fence, granted_ms = holder(record)
  local tokens = tonumber(reserved)
  for _, scope in ipairs(scopes_of(credential, model)) do
    local w = (scope.rpm or scope.tpm) and (used or not called) and window_of(scope.name)
    if w and tonumber(fence) > w.since then
      local cost = scope.tpm and math.min(tokens, most_of(scope.tpm, class)) or tokens
      local more_calls, more_tokens = called and 0 or -1, (called and used or 0) - cost
      local bucket = math.floor(granted_ms / BUCKET_MS)
      local field = '@' .. whole(bucket) .. '@' .. scope.name
      local packed = bucket > w.bucket - BUCKETS and redis.call('HGET', RATES, field)
      if packed then
        local in_calls, in_tokens = counts(packed)
        more_calls, more_tokens = math.max(more_calls, -in_calls), math.max(more_tokens, -in_tokens)
        redis.call('HSET', RATES, field, whole(in_calls + more_calls) .. '|' .. whole(in_tokens + more_tokens))
        w.calls, w.tokens = w.calls + more_calls, w.tokens + more_tokens
      end
      w.calls_at = corrected(w.calls_at, scope.rpm, more_calls)
      w.tokens_at = corrected(w.tokens_at, scope.tpm, more_tokens)
      keep_window(scope.name, w)
      redis.call('ZREM', RESTING, scope.name)
    end
    if not called then give_back(scope, tokens) end
  end
end
