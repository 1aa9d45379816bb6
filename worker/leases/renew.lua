-- Holds leases for another TTL, and so takes up turns; one that has expired, but that nobody has reclaimed, too.
-- ARGV: 2 TTL in ms  3... lease ids
-- -> the ids of those that are lost
local expiry = whole(now + tonumber(ARGV[2]))
local lost = {}
for i = 3, #ARGV do
  local record = redis.call('HGET', HOLDERS, ARGV[i])
  if record then
    redis.call('ZADD', LEASES, expiry, ARGV[i])
    take_up(ARGV[i], record)
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
