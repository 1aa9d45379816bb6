-- Holds leases for another TTL; one that has expired, but that nobody has reclaimed, too.
-- ARGV: 2 TTL in ms  3... lease ids
-- -> the ids of those that are lost
local expiry = whole(now + tonumber(ARGV[2]))
local lost = {}
for i = 3, #ARGV do
  if redis.call('HEXISTS', HOLDERS, ARGV[i]) == 1 then
    redis.call('ZADD', LEASES, expiry, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
