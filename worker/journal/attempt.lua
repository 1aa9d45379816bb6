-- Writes one attempt's row: before its call, as lost, and again once its end is known.
-- ARGV: 3 epoch  4 owner  5 number  6 row (JSON)
-- -> {'written', cancel 0|1} | {'lost'}
if not owns(ARGV[3], ARGV[4]) then return { 'lost' } end
redis.call('HSET', ATTEMPTS, ARGV[5], ARGV[6])
keep(ATTEMPTS)
return { 'written', tonumber(field('cancel')) }
