-- The names of a home in Redis. KEYS[1] is the home's hash tag, T below; every key begins with it, so that all names
-- of a home lie in one slot of a cluster and each script is atomic. Version 1 of the layout:
--   T:d:ID   hash  name -> inode id         a directory's entries; that of the root is "0"
--   T:i:ID   hash  t    type: f, d, l, p, s, c or b (file, directory, symbolic link, fifo, socket, devices)
--                  m u g  mode, owner, group, decimal        n   names that lead to it
--                  s    length in bytes    mt  time of modification, nanoseconds since 1970
--                  v    version of the bytes, raised by each settling    lk  what a link says, a device's number
--                  p    a directory's parent                            x   extended attributes, as catalog/mod.rs writes them
-- The bytes of file ID are not here, but in objects of their own; see docs/stores.md.
local T = KEYS[1]
local ROOT = '0'

-- A refusal: the name of the error that the system call gets. No id begins so.
local function no(error)
  return '!' .. error
end

local function inode(id)
  return redis.call('HMGET', T .. ':i:' .. id, 't', 'm', 'u', 'g', 'n', 's', 'mt', 'v', 'lk', 'x')
end

-- An inode as an answer: its id, then its fields; absent ones are empty.
local function told(id)
  local fields = inode(id)
  local answer = { id }
  for i = 1, 10 do
    answer[i + 1] = fields[i] or ''
  end
  return answer
end

local function entry(dir, name)
  return redis.call('HGET', T .. ':d:' .. dir, name)
end

local function kind(id)
  return redis.call('HGET', T .. ':i:' .. id, 't')
end

-- The root is there from the first time that anything is asked.
if redis.call('EXISTS', T .. ':i:' .. ROOT) == 0 then
  redis.call('HSET', T .. ':i:' .. ROOT, 't', 'd', 'm', '493', 'u', '0', 'g', '0', 'n', '2', 's', '0', 'mt', '0', 'v', '0', 'p', ROOT)
end

-- One name fewer leads to an inode. At none it goes; its id and length are the answer, so that its objects can go too.
local function unname(id)
  local left = redis.call('HINCRBY', T .. ':i:' .. id, 'n', -1)
  if left <= 0 then
    local len = redis.call('HGET', T .. ':i:' .. id, 's')
    redis.call('DEL', T .. ':i:' .. id)
    return { id, len or '0' }
  end
  return ''
end

-- A directory's entries have changed.
local function touched(dir, now)
  redis.call('HSET', T .. ':i:' .. dir, 'mt', now)
end

-- Whether an inode is a directory, or lies on its way from the root.
local function is_above(id, dir)
  while true do
    if dir == id then
      return true
    end
    if dir == ROOT or not dir then
      return false
    end
    dir = redis.call('HGET', T .. ':i:' .. dir, 'p')
  end
end

local commands = {}

-- walk NAME...: the inodes on the way from the root, until one that is no directory or is not there.
function commands.walk(a)
  local at, way = ROOT, { told(ROOT) }
  for i = 2, #a do
    local next = entry(at, a[i])
    if not next then
      return way
    end
    way[#way + 1] = told(next)
    if kind(next) ~= 'd' then
      return way
    end
    at = next
  end
  return way
end

-- list DIR: name, inode, name, inode ...; nothing where DIR is no directory.
function commands.list(a)
  if kind(a[2]) ~= 'd' then
    return no('ENOTDIR')
  end
  local flat, answer = redis.call('HGETALL', T .. ':d:' .. a[2]), {}
  for i = 1, #flat, 2 do
    answer[#answer + 1] = { flat[i], told(flat[i + 1]) }
  end
  return answer
end

-- make DIR NAME ID TYPE MODE UID GID MTIME LINK NOW: a new name, unless there is one. Answers whether it was made, and the
-- inode that the name leads to.
function commands.make(a)
  local dir, name, id = a[2], a[3], a[4]
  if kind(dir) ~= 'd' then
    return no('ENOENT')
  end
  local old = entry(dir, name)
  if old then
    return { 0, told(old) }
  end
  redis.call('HSET', T .. ':i:' .. id, 't', a[5], 'm', a[6], 'u', a[7], 'g', a[8], 'mt', a[9], 'lk', a[10],
    'n', a[5] == 'd' and '2' or '1', 's', '0', 'v', '0', 'p', dir)
  redis.call('HSET', T .. ':d:' .. dir, name, id)
  if a[5] == 'd' then
    redis.call('HINCRBY', T .. ':i:' .. dir, 'n', 1)
  end
  touched(dir, a[11])
  return { 1, told(id) }
end

-- link DIR NAME ID NOW: another name of a file.
function commands.link(a)
  if kind(a[2]) ~= 'd' or not kind(a[4]) then
    return no('ENOENT')
  end
  if entry(a[2], a[3]) then
    return no('EEXIST')
  end
  redis.call('HSET', T .. ':d:' .. a[2], a[3], a[4])
  redis.call('HINCRBY', T .. ':i:' .. a[4], 'n', 1)
  touched(a[2], a[5])
  return ''
end

-- unlink DIR NAME NOW: answers the inode that has lost its last name.
function commands.unlink(a)
  local id = entry(a[2], a[3])
  if not id then
    return no('ENOENT')
  end
  if kind(id) == 'd' then
    return no('EISDIR')
  end
  redis.call('HDEL', T .. ':d:' .. a[2], a[3])
  touched(a[2], a[4])
  return unname(id)
end

local function drop_dir(dir, name, id)
  redis.call('HDEL', T .. ':d:' .. dir, name)
  redis.call('DEL', T .. ':i:' .. id)
  redis.call('HINCRBY', T .. ':i:' .. dir, 'n', -1)
end

-- rmdir DIR NAME NOW
function commands.rmdir(a)
  local id = entry(a[2], a[3])
  if not id then
    return no('ENOENT')
  end
  if kind(id) ~= 'd' then
    return no('ENOTDIR')
  end
  if redis.call('HLEN', T .. ':d:' .. id) > 0 then
    return no('ENOTEMPTY')
  end
  drop_dir(a[2], a[3], id)
  touched(a[2], a[4])
  return ''
end

-- rename DIR NAME DIR2 NAME2 HOW NOW: HOW is '' to replace, 'n' not to (RENAME_NOREPLACE), 'x' to exchange. Answers the
-- inode that has lost its last name.
function commands.rename(a)
  local id, old, how = entry(a[2], a[3]), entry(a[4], a[5]), a[6]
  if not id or kind(a[4]) ~= 'd' then
    return no('ENOENT')
  end
  -- In the kernel's order: what exists, then what would bite its own tail, then what is of the wrong type.
  if old and how == 'n' then
    return no('EEXIST')
  end
  if how == 'x' and not old then
    return no('ENOENT')
  end
  if id == old then
    return ''
  end
  local moves = kind(id) == 'd'
  if moves and is_above(id, a[4]) then
    return no('EINVAL')
  end
  if old and is_above(old, a[2]) then
    return no(how == 'x' and 'EINVAL' or 'ENOTEMPTY')
  end
  if how == 'x' then
    redis.call('HSET', T .. ':d:' .. a[4], a[5], id)
    redis.call('HSET', T .. ':d:' .. a[2], a[3], old)
    for inode_id, parent in pairs({ [id] = a[4], [old] = a[2] }) do
      redis.call('HSET', T .. ':i:' .. inode_id, 'p', parent)
    end
    touched(a[2], a[7])
    touched(a[4], a[7])
    if a[2] ~= a[4] and moves ~= (kind(old) == 'd') then
      redis.call('HINCRBY', T .. ':i:' .. a[2], 'n', moves and -1 or 1)
      redis.call('HINCRBY', T .. ':i:' .. a[4], 'n', moves and 1 or -1)
    end
    return ''
  end
  local gone = ''
  if old then
    local over = kind(old) == 'd'
    if over and not moves then
      return no('EISDIR')
    end
    if moves and not over then
      return no('ENOTDIR')
    end
    if over then
      if redis.call('HLEN', T .. ':d:' .. old) > 0 then
        return no('ENOTEMPTY')
      end
      drop_dir(a[4], a[5], old)
    else
      gone = unname(old)
    end
  end
  redis.call('HDEL', T .. ':d:' .. a[2], a[3])
  redis.call('HSET', T .. ':d:' .. a[4], a[5], id)
  redis.call('HSET', T .. ':i:' .. id, 'p', a[4])
  touched(a[2], a[7])
  touched(a[4], a[7])
  if moves and a[2] ~= a[4] then
    redis.call('HINCRBY', T .. ':i:' .. a[2], 'n', -1)
    redis.call('HINCRBY', T .. ':i:' .. a[4], 'n', 1)
  end
  return gone
end

-- set ID FIELD VALUE ...: what an inode that is still there says of itself.
function commands.set(a)
  if redis.call('EXISTS', T .. ':i:' .. a[2]) == 0 then
    return no('ENOENT')
  end
  for i = 3, #a, 2 do
    redis.call('HSET', T .. ':i:' .. a[2], a[i], a[i + 1])
  end
  return ''
end

-- exists ID: 1 if the inode still has a name.
function commands.exists(a)
  return redis.call('EXISTS', T .. ':i:' .. a[2])
end

-- settled ID LENGTH MTIME: the bytes are in their objects. Answers the new version.
function commands.settled(a)
  local key = T .. ':i:' .. a[2]
  if redis.call('EXISTS', key) == 0 then
    return no('ENOENT')
  end
  redis.call('HSET', key, 's', a[3], 'mt', a[4])
  return redis.call('HINCRBY', key, 'v', 1)
end

return commands[ARGV[1]](ARGV)
