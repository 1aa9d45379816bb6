-- A probe's call goes well: what it tries out is open to all again, before the answer has ended.
-- ARGV: 2 lease id  3 fence  4 credential  5 model
-- -> {'proven'|'gone', jobs to wake}
local record = redis.call('HGET', HOLDERS, ARGV[2])
if not record or select(5, holder(record)) ~= ARGV[3] then return { 'gone', {} } end
forgive(ARGV[4], ARGV[5], ARGV[3])
place(ARGV[4])
return { 'proven', let_in() }
