-- What the provider said is left to a lease's credential, less what was granted since. The newest word counts.
-- ARGV: 2 lease id  3 fence  4 credential  5 model  6 calls and 7 ms until they are back, 8 tokens and 9 ms; -1 unknown
-- -> {'noted'|'gone'|'old'}
local UNKNOWN = 2 ^ 40
local CREDENTIAL, MODEL, FENCE = ARGV[4], ARGV[5], ARGV[3]

local record = redis.call('HGET', HOLDERS, ARGV[2])
if not record then return { 'gone' } end
local _, _, _, _, fence, _, calls, tokens = holder(record)
if fence ~= FENCE then return { 'gone' } end

local scope = redis.call('HGET', LIMITS, 'scope') == 'credential' and CREDENTIAL or CREDENTIAL .. '|' .. MODEL
local heard = string.match(redis.call('HGET', RATES, '<' .. scope) or '', '([^|]*)$')
if (tonumber(heard) or 0) > tonumber(FENCE) then return { 'old' } end

local calls_now, tokens_now = counts(redis.call('HGET', USAGE, 'sum|' .. scope))
local function left(said, at_now, at_grant)
  return whole(said < 0 and UNKNOWN or said - math.max(0, at_now - at_grant))
end
redis.call('HSET', RATES, '<' .. scope, table.concat({
  left(tonumber(ARGV[6]), calls_now, calls), whole(now + tonumber(ARGV[7])),
  left(tonumber(ARGV[8]), tokens_now, tokens), whole(now + tonumber(ARGV[9])), whole(now), FENCE }, '|'))
if redis.call('ZREM', RESTING, scope) == 1 then place(CREDENTIAL) end -- it may be more than was said before
return { 'noted' }
